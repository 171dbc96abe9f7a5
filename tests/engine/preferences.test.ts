/** Runs over preferences against numbers recorded with PEFT and TRL's formulas; they go on exactly and leave nothing behind. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createSession, type Model, type SessionEvent, type StepEvent, type TrainSession } from '../../src/engine'
import { arithmeticHere } from '../../src/engine/ops/arithmetic'
import { tf } from '../../src/engine/tf'
import type { Job } from '../../src/shared/job'
import type { Checkpoint, EncodedRow, EncodedSequence } from '../../src/shared/records'
import { onWebGPU } from '../support/backends'
import { goldenAdapter, goldenJob, goldenJson, goldenModel, inOrder, readGolden, type Golden } from '../support/golden'
import { TOLERANCES } from '../support/precision'
import { expectSteps, off, type RecordedStep } from '../support/recorded'

interface Recorded {
  case: string
  beta: number
  wrong_pairs: number
  sft_weight: number
  rows: { prompt: number[]; chosen: number[]; rejected: number[]; other: number[]; good: boolean }[]
  runs: Record<'dpo' | 'orpo' | 'kto', { steps: RecordedStep[]; before: number; after: number }>
}

let recorded: Recorded
let golden: Golden
let model: Model

beforeAll(async () => {
  recorded = await goldenJson<Recorded>('objectives.json')
  golden = await readGolden(recorded.case)
  model = await goldenModel(recorded.case)
})
afterAll(() => model?.dispose())

function sequence(prompt: readonly number[], answer: readonly number[]): EncodedSequence {
  return {
    inputIds: Int32Array.from([...prompt, ...answer]),
    labels: Int32Array.from([...prompt.map(() => -100), ...answer]),
  }
}

function rowsFor(objective: Job['objective']): EncodedRow[] {
  return recorded.rows.map(({ prompt, chosen, rejected, other, good }, index) => ({
    index,
    ...sequence(prompt, chosen),
    ...(objective === 'kto'
      ? { rated: { good, other: sequence(prompt, other) } }
      : { rejected: sequence(prompt, rejected) }),
  }))
}

async function start(
  objective: 'dpo' | 'orpo' | 'kto',
  change: Partial<Job> = {},
  checkpoint?: Checkpoint,
  replay = true,
): Promise<TrainSession> {
  const rows = rowsFor(objective)
  const settings = { beta: recorded.beta, wrongPairs: recorded.wrong_pairs, sftWeight: recorded.sft_weight }
  const steps = recorded.runs[objective].steps.length
  const job = goldenJob(golden, { objective, ...settings, steps, ...change })
  return createSession({
    model,
    job,
    batches: inOrder(rows, job.batchSize),
    evalRows: rows,
    samplePrompt: null,
    replay,
    ...(checkpoint
      ? { checkpoint: structuredClone(checkpoint) }
      : { initAdapter: await goldenAdapter(recorded.case, 'adapter_zero') }),
  })
}

describe.each(['dpo', 'orpo', 'kto'] as const)('%s', (objective) => {
  it('trains to the same losses and norms, packed or not', async () => {
    const run = recorded.runs[objective]
    for (const packing of [false, true]) {
      const session = await start(objective, { packing })
      const before = await session.preferences!.evaluate(session.evalRows)
      // KTO measures its distance over all rows at once there, and by two here.
      if (objective !== 'kto') expect(off(before.loss, run.before)).toBeLessThan(1e-4)
      const { events, whole } = await expectSteps(session, run.steps)
      const last = events.at(-1) as typeof before & StepEvent
      expect(last.rewardAccuracy).toBeGreaterThanOrEqual(0)
      if (whole) {
        const after = await session.preferences!.evaluate(session.evalRows)
        expect(off(after.loss, run.after)).toBeLessThan(5e-3)
        expect(after.rewardMargin).toBeGreaterThan(before.rewardMargin)
      }
      session.dispose()
      if (onWebGPU()) break
    }
  })

  describe.each(['f16', 'matrix'] as const)('in %s', (arithmetic) => {
    it.skipIf(arithmeticHere(arithmetic) !== arithmetic)('trains to the same losses and norms', async () => {
      const session = await start(objective, { arithmetic })
      const { loss, norm } = TOLERANCES.none[arithmetic]
      for (const [i, wanted] of recorded.runs[objective].steps.slice(0, 3).entries()) {
        const { event } = await session.advance()
        expect(off(event.loss, wanted.loss), `loss of step ${i + 1}`).toBeLessThan(loss)
        expect(off(event.gradNorm, wanted.grad_norm), `norm of step ${i + 1}`).toBeLessThan(norm)
      }
      session.dispose()
    })
  })

  it('goes on from a checkpoint with the same numbers, and leaves nothing behind', async () => {
    const change = { dropout: 0.1, evalEvery: 2 }
    const story = async (session: TrainSession, until = Infinity): Promise<unknown[]> => {
      const events: unknown[] = []
      const run = session.run()
      for (;;) {
        const { value, done } = await run.next()
        if (done) break
        const event = value as SessionEvent
        if (event.kind === 'step') events.push([event.step, event.loss, event.gradNorm, event.rewardMargin])
        if (event.kind === 'eval') events.push({ ...event })
        if (event.kind === 'step' && event.step === until) {
          await run.return(undefined as never)
          break
        }
      }
      return events
    }
    const whole = await start(objective, { ...change, steps: 5 })
    const wanted = await story(whole)
    const end = await whole.checkpoint()
    whole.dispose()
    const before = tf.memory().numTensors
    const first = await start(objective, { ...change, steps: 5 })
    const early = await story(first, 3)
    const kept = await first.checkpoint()
    expect('reference/logps' in kept.tensors).toBe(objective !== 'orpo')
    first.dispose()
    const second = await start(objective, { ...change, steps: 5 }, kept)
    const late = await story(second)
    const got = await second.checkpoint()
    second.dispose()
    expect(tf.memory().numTensors).toBe(before)
    expect([...early, ...late]).toEqual(wanted)
    for (const key of Object.keys(end.tensors)) expect(got.tensors[key]!.bytes, key).toEqual(end.tensors[key]!.bytes)
    expect(got.meta.metrics.evalRewardMargin).toEqual(end.meta.metrics.evalRewardMargin)
  })
})

describe('steps over preferences', () => {
  it('give the same numbers replayed', async () => {
    const story = async (replay: boolean): Promise<{ numbers: unknown[]; runs: number }> => {
      const session = await start('dpo', { dropout: 0.1, gradAccum: 2, steps: 8 }, undefined, replay)
      const numbers: unknown[] = []
      while (session.step < 8) {
        const { event } = await session.advance()
        numbers.push([event.loss, event.gradNorm, event.rewardMargin])
      }
      const { tensors } = await session.checkpoint()
      for (const { bytes } of Object.values(tensors)) numbers.push(...bytes)
      const { runs } = session.recorder.replayed
      session.dispose()
      return { numbers, runs }
    }
    const [plain, replayed] = [await story(false), await story(true)]
    expect(replayed.numbers).toEqual(plain.numbers)
    expect(plain.runs).toBe(0)
    // Of 8 steps each micro-batch, norm and update, less the two that must agree.
    if (onWebGPU()) expect(replayed.runs).toBeGreaterThan(20)
  })
})

describe('rows without what the objective needs', () => {
  it('are refused', async () => {
    const rows = rowsFor('kto').map(({ rated: _rated, ...row }) => row)
    const job = goldenJob(golden, { objective: 'dpo' })
    const session = await createSession({ model, job, batches: inOrder(rows, 2), evalRows: [], samplePrompt: null })
    await expect(session.advance()).rejects.toMatchObject({ code: 'data.columns' })
    session.dispose()
  })
})
