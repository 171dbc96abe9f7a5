/**
 * What a setting did in a run that the person has made, or would have done: in one sentence, and where on its curve. Refuses to say
 * anything of settings that leave no trace there.
 */
import { counted, figure, percent } from '../shared/format'
import { warmupOf, type Job, type SettingKey } from '../shared/job'
import type { MetricBuffer } from '../shared/metrics'
import { rateText } from './rehearsal'
import { readCurves, type Curves } from './curves'
import { diagnose, type Evidence } from './diagnosis'

interface OwnEffect {
  text: string
  /** Stretches of steps that show it. */
  marks: Evidence[]
}

interface Past {
  curves: Curves
  /** Settings and numbers of the run. */
  job: Job
  metrics: MetricBuffer
}
type Teller = (past: Past, next: Job) => OwnEffect | null

/** Steps before which a run shows nothing. */
const LEAST_STEPS = 12

const TELLERS: Partial<Record<SettingKey, Teller>> = {
  learningRate,
  epochs: length,
  steps: length,
  earlyStop,
  batchSize: jumps,
  gradAccum: jumps,
  clip,
  warmupSteps: warmup,
  warmupRatio: warmup,
  schedule,
  rank: gap,
  dropout: gap,
  weightDecay: gap,
}

/** Settings whose effect a curve can show. */
export const SHOWN: ReadonlySet<SettingKey> = new Set(Object.keys(TELLERS) as SettingKey[])

/**
 * A setting on a run's own curve.
 * @param next the job that is being set up, of which that setting is asked.
 * @param job and metrics of the run that was made; null where it is too short, or the setting leaves no trace.
 */
export function onOwnCurve(key: SettingKey, next: Job, job: Job, metrics: MetricBuffer): OwnEffect | null {
  const curves = readCurves(metrics, job)
  if (curves.losses.length < LEAST_STEPS) return null
  return TELLERS[key]?.({ curves, job, metrics }, next) ?? null
}

function learningRate({ curves, job, metrics }: Past): OwnEffect {
  const { verdict, text, evidence } = diagnose(metrics, job)
  const rate = `At ${rateText(job.learningRate)}: `
  if (['diverging', 'slow', 'noisy'].includes(verdict))
    return { text: rate + text.charAt(0).toLowerCase() + text.slice(1), marks: evidence }
  const [first, last] = [curves.blocks[0], curves.blocks.at(-1)]
  const settled = curves.steps[curves.settled] ?? curves.lastStep
  return {
    text: `${rate}the loss fell from ${figure(first?.mean ?? Number.NaN)} to ${figure(last?.mean ?? Number.NaN)}, most of it in the first ${counted(settled, 'step')}, and did not run away.`,
    marks: [{ from: 1, to: settled, text: 'most of the fall' }],
  }
}

function length({ curves }: Past): OwnEffect | null {
  const { evals, epochs, steps, lastStep } = curves
  if (evals.length < 2) return null
  const best = evals.reduce((low, point) => (point.loss < low.loss ? point : low))
  const epoch = epochs[steps.findLastIndex((step) => step <= best.step)] ?? Number.NaN
  if (best.step >= lastStep)
    return {
      text: `Validation was still getting better at the end, after ${figure(epoch)} epochs: a longer run may give more.`,
      marks: [{ from: evals.at(-2)?.step ?? 1, to: lastStep, text: 'still better' }],
    }
  return {
    text: `Validation was best at step ${best.step} of ${lastStep}, after ${figure(epoch)} epochs; what came later made it no better.`,
    marks: [{ from: best.step, to: lastStep, text: 'no better any more' }],
  }
}

/** Where the patience that is set now would have ended the run. */
function earlyStop({ curves }: Past, next: Job): OwnEffect | null {
  const { evals, lastStep } = curves
  if (evals.length < 2 || next.earlyStop === 0) return null
  let [best, without] = [Infinity, 0]
  for (const { step, loss } of evals) {
    without = loss < best ? 0 : without + 1
    best = Math.min(best, loss)
    if (without >= next.earlyStop && step < lastStep)
      return {
        text: `With ${next.earlyStop}, this run would have ended at step ${step} of ${lastStep}.`,
        marks: [{ from: step, to: lastStep, text: 'saved' }],
      }
  }
  return { text: `With ${next.earlyStop}, this run would have gone on to its end.`, marks: [] }
}

/** Mean gradients of more rows jump less: by the root of their number. */
function jumps({ curves, job }: Past, next: Job): OwnEffect {
  const [then, now] = [job, next].map(({ batchSize, gradAccum }) => batchSize * gradAccum) as [number, number]
  const other =
    then === now
      ? ''
      : `; with ${counted(now, 'row')} it would be about ±${figure(curves.jitter * Math.sqrt(then / now))}`
  return {
    text: `With ${counted(then, 'row')} a step the loss jumped by about ±${figure(curves.jitter)} from step to step${other}.`,
    marks: [{ from: curves.steps[curves.settled] ?? 1, to: curves.lastStep, text: `±${figure(curves.jitter)}` }],
  }
}

function clip({ metrics }: Past, next: Job): OwnEffect | null {
  if (next.clip === 0) return null
  const [steps, norms] = [metrics.column('step'), metrics.column('gradNorm')]
  const measured = norms.filter(Number.isFinite).length
  const cut = [...norms.keys()].filter((i) => (norms[i] as number) > next.clip)
  const marks: Evidence[] = []
  for (const i of cut) {
    const step = steps[i] as number
    const last = marks.at(-1)
    if (last && step - last.to <= 1) last.to = step
    else marks.push({ from: step, to: step, text: '' })
  }
  if (marks[0]) marks[0].text = 'cut'
  return {
    text: `At ${next.clip}, ${percent(cut.length / Math.max(1, measured))} of the steps of this run would have been cut.`,
    marks,
  }
}

function warmup({ curves }: Past, next: Job): OwnEffect | null {
  const steps = warmupOf(next, curves.lastStep)
  if (steps === 0) return null
  return {
    text: `In a run as long as this one the first ${counted(steps, 'step')} of ${curves.lastStep} would be warm-up.`,
    marks: [{ from: 1, to: Math.min(steps, curves.lastStep), text: 'warm-up' }],
  }
}

/** How much of the fall came while the rate was already low. */
function schedule({ curves }: Past): OwnEffect | null {
  const { losses, steps, start, blocks, lastStep } = curves
  const peak = losses.findIndex((_, i) => curves.rateAt(i / losses.length) >= 0.99)
  const half = losses.findIndex((_, i) => i > peak && curves.rateAt(i / losses.length) < 0.5)
  const [from, last] = [steps[half], blocks.at(-1)]
  if (half < 0 || from === undefined || !last) return null
  const before = losses.slice(Math.max(0, half - 5), half)
  const then = before.reduce((sum, loss) => sum + loss, 0) / before.length
  const share = Math.max(0, (then - last.mean) / Math.max(1e-9, start - last.mean))
  return {
    text: `From step ${from} on the rate was below half its peak; ${percent(share)} of the fall came after that.`,
    marks: [{ from, to: lastStep, text: 'below half the rate' }],
  }
}

/** What is learnt by heart shows between the two curves. */
function gap({ curves }: Past): OwnEffect | null {
  const [valid, train] = [curves.evals.at(-1), curves.blocks.at(-1)]
  if (!valid || !train) return null
  const wide = valid.loss - train.mean > 0.25 * valid.loss
  return {
    text: `It ended with a training loss of ${figure(train.mean)} and ${figure(valid.loss)} on rows it never saw: ${
      wide
        ? 'part of it is learnt by heart, which less room and more dropout hold back.'
        : 'next to nothing is learnt by heart.'
    }`,
    marks: [{ from: train.from, to: train.to, text: wide ? 'the gap' : 'close together' }],
  }
}
