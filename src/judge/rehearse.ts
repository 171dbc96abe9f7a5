/**
 * A few real steps before a run: their time, a small run on a twentieth of the rows, or a sweep over learning rates. Refuses to keep the
 * adapter that it trains.
 */
import { batchesOf, type Prepared } from '../data'
import { createSession, deviceBytes, evaluate, totalSteps, type Model } from '../engine'
import type { PeftAdapter } from '../engine/formats/peft'
import { rangeIsOver, rangeRate, suggestRate } from '../insight/rehearsal'
import type { OnProgress } from '../shared/files'
import type { Job } from '../shared/job'
import type { Rehearsal, RehearsalKind, RehearsalStep } from '../shared/judgement'
import type { Turn } from './turn'

interface RehearseInput {
  kind: RehearsalKind
  model: Model
  job: Job
  rows: Pick<Prepared, 'train' | 'eval' | 'mixed' | 'classes'>
  initAdapter?: PeftAdapter | undefined
  turn: Turn
  onStep?: (step: RehearsalStep) => void
  onProgress?: OnProgress
  /** Ends the work with an AbortError between two steps. */
  signal?: AbortSignal
}

/** Steps of each kind; the first of all is not timed, since shaders are made in it. */
const STEPS: Record<RehearsalKind, number> = { time: 4, smoke: 20, range: 60 }
const STAGES: Record<RehearsalKind, string> = {
  time: 'Measuring three steps',
  smoke: 'Rehearsing on a few rows',
  range: 'Trying learning rates',
}
const SMOKE_SHARE = 0.05
/** Validation rows that are timed. */
const TIMED_ROWS = 16
/** Evaluations of a run where the job leaves them to us: ten, and at least every 100 steps. */
const EVALUATIONS = 10

/** Rehearses a job on its own rows. @throws AbortError; CodedError as training does. */
export async function rehearse(input: RehearseInput): Promise<Rehearsal> {
  const { kind, model, job, rows, turn, onStep, onProgress, signal } = input
  const count = STEPS[kind]
  const train = kind === 'smoke' ? someOf(rows.train, job) : rows.train
  const total = totalSteps(job, rows.train.length)
  const session = await turn(() =>
    createSession({
      model,
      job: { ...job, steps: count, warmupSteps: kind === 'smoke' ? Math.min(2, job.warmupSteps) : 0 },
      batches: batchesOf({ ...rows, train }, job),
      evalRows: [],
      samplePrompt: null,
      classes: rows.classes,
      ...(input.initAdapter ? { initAdapter: input.initAdapter } : {}),
      ...(kind === 'range' ? { rateAt: (step: number) => rangeRate(step, count) } : {}),
    }),
  )
  const steps: RehearsalStep[] = []
  const times: { ms: number; tokens: number }[] = []
  let memory = 0
  try {
    for (let i = 0; i < count; i++) {
      signal?.throwIfAborted()
      const { event } = await turn(() => session.advance())
      const step = { step: event.step, loss: event.loss, learningRate: event.learningRate }
      steps.push(step)
      onStep?.(step)
      if (i > 0) times.push({ ms: event.stepTime, tokens: event.tokens })
      memory = Math.max(memory, event.memory)
      onProgress?.({ stage: STAGES[kind], done: i + 1, total: count, unit: 'steps' })
      if (kind === 'range' && rangeIsOver(steps)) break
    }
    memory = Math.max(memory, deviceBytes())
    const stepTime = median(times.map(({ ms }) => ms))
    const evalTime = await timeEvaluation(input)
    const evaluations =
      rows.eval.length === 0 ? 0 : job.evalEvery > 0 ? total / job.evalEvery : Math.max(EVALUATIONS, total / 100)
    const ms = times.reduce((sum, one) => sum + one.ms, 0)
    return {
      ...{ kind, steps, stepTime, evalTime, memory, totalSteps: total },
      tokensPerSecond: (1000 * times.reduce((sum, one) => sum + one.tokens, 0)) / ms,
      seconds: (total * stepTime + evaluations * evalTime) / 1000,
      suggested: kind === 'range' ? suggestRate(steps) : null,
    }
  } finally {
    session.dispose()
  }
}

/** ms of one look at all validation rows, from a few of them. */
async function timeEvaluation({ model, rows, turn, signal }: RehearseInput): Promise<number> {
  const some = rows.eval.slice(0, TIMED_ROWS)
  if (some.length === 0) return 0
  signal?.throwIfAborted()
  const started = performance.now()
  await turn(() => evaluate(model, null, some))
  return ((performance.now() - started) * rows.eval.length) / some.length
}

/** A twentieth of the rows, evenly taken, but enough for two steps. */
function someOf<T>(rows: readonly T[], { batchSize, gradAccum }: Job): T[] {
  const wanted = Math.max(Math.ceil(SMOKE_SHARE * rows.length), 2 * batchSize * gradAccum)
  if (wanted >= rows.length) return [...rows]
  return Array.from({ length: wanted }, (_, i) => rows[Math.floor((i * rows.length) / wanted)] as T)
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2
}
