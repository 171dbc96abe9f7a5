/**
 * Says in plain words what a run's curves show, where they show it, and what to change next time. Refuses to say anything about
 * a curve that is too short, and to find fault with a healthy one.
 */
import { SETTINGS, type Job } from '../shared/job'
import type { MetricBuffer } from '../shared/metrics'
import { dropOver, readCurves, type Curves } from './curves'

export type Verdict =
  | 'too-early'
  | 'healthy'
  | 'overfitting'
  | 'underfitting'
  | 'diverging'
  | 'noisy'
  | 'plateau'
  | 'slow'
  | 'zero-loss'
  | 'masked'
  | 'order'

/** Steps that show it. */
export interface Evidence {
  from: number
  to: number
  text: string
}

export interface Diagnosis {
  verdict: Verdict
  tone: 'good' | 'fair' | 'poor'
  /** One or two sentences. */
  text: string
  evidence: Evidence[]
  /** Settings for the next run. */
  change?: Partial<Job>
  /** What the change is, as the words of a button. */
  changeText?: string
}

/** Steps before which nothing can be said. */
const LEAST_STEPS = 12

/** Rows a step from which more of them would not calm a run. */
const MANY_ROWS = 16

/** The first of the checks that finds something; a healthy run gets the verdict `healthy` and no change. */
export function diagnose(metrics: MetricBuffer, job: Job): Diagnosis {
  const curves = readCurves(metrics, job)
  const checks = [
    notFinite,
    masked,
    tooEarly,
    zeroLoss,
    overfitting,
    diverging,
    wild,
    order,
    noisy,
    slow,
    plateau,
    underfitting,
  ]
  for (const check of checks) {
    const found = check(curves, job)
    if (found) return found
  }
  return healthy(curves)
}

function notFinite({ firstBad, lastStep }: Curves, job: Job): Diagnosis | null {
  if (firstBad === null) return null
  return {
    verdict: 'diverging',
    tone: 'poor',
    text: 'The loss is no longer a number: the training has run away.',
    evidence: [{ from: firstBad, to: lastStep, text: 'no number' }],
    ...lowerRate(job, 5),
  }
}

/** Steps without a loss and without a gradient: not one of their labels counted. */
function masked({ empty, losses, steps }: Curves, job: Job): Diagnosis | null {
  if (empty.length < 3 || empty.length < 0.05 * losses.length) return null
  const all = empty.length === losses.length
  const length = 2 * job.maxLength
  return {
    verdict: 'masked',
    tone: 'poor',
    text: all
      ? 'Nothing counts in the loss: every label is masked. The answers are empty, or cut off before they begin.'
      : `In ${empty.length} of ${losses.length} steps nothing counted in the loss: answers are empty, or cut off before they begin.`,
    evidence: [{ from: empty[0] ?? 1, to: empty.at(-1) ?? steps.at(-1) ?? 1, text: 'nothing to learn here' }],
    ...(length <= SETTINGS.maxLength.max
      ? { change: { maxLength: length }, changeText: `Allow ${length} tokens an example` }
      : {}),
  }
}

function tooEarly({ losses, lastStep }: Curves): Diagnosis | null {
  if (losses.length >= LEAST_STEPS) return null
  const text = losses.length === 0 ? 'There is nothing to see yet.' : 'It is too early to say.'
  return {
    verdict: 'too-early',
    tone: 'good',
    text,
    evidence: losses.length ? [{ from: 1, to: lastStep, text: 'so far' }] : [],
  }
}

/** Next to no loss: from the start there was nothing to learn; later the rows are known by heart, or the answer is in the prompt. */
function zeroLoss(curves: Curves): Diagnosis | null {
  const { losses, steps, lastStep, evals } = curves
  const tail = losses.slice(-Math.max(5, Math.floor(losses.length / 10)))
  if (Math.max(...tail) > 0.01) return null
  const from = losses.findLastIndex((loss) => loss > 0.01) + 1
  const atOnce = from < LEAST_STEPS
  const evalLoss = evals.at(-1)?.loss
  if (!atOnce && evalLoss !== undefined && evalLoss > 0.1) return null
  return {
    verdict: 'zero-loss',
    tone: 'poor',
    text: atOnce
      ? 'The loss is next to zero from the start: there is nothing to learn. The answers stand in the prompts, or are known already.'
      : 'The loss has come down to zero: the rows are known by heart. Look for repeated rows, or add others.',
    evidence: [{ from: steps[from] ?? 1, to: lastStep, text: 'loss at zero' }],
  }
}

/** Validation is clearly and lastingly worse than its best while training goes on falling. */
function overfitting(curves: Curves, job: Job): Diagnosis | null {
  const { evals, lastStep, epochs } = curves
  if (evals.length < 4) return null
  const best = evals.reduce((low, point) => (point.loss < low.loss ? point : low))
  const after = evals.filter((point) => point.step > best.step)
  if (after.length < 2) return null
  const margin = Math.max(0.02, 0.02 * best.loss, 3 * curves.evalNoise)
  const worse = after.slice(-2).every((point) => point.loss > best.loss + margin)
  const [nextToLast, last] = after.slice(-2)
  const rising = (last?.loss ?? 0) >= (nextToLast?.loss ?? 0) - margin
  if (!worse || !rising || curves.meanAfter(best.step) > curves.meanUpTo(best.step)) return null
  const bestEpoch = epochs[curves.steps.findLastIndex((step) => step <= best.step)] ?? 0
  const change: Partial<Job> =
    job.steps > 0
      ? { steps: best.step }
      : { epochs: Math.max(0.5, Math.round(bestEpoch * 2) / 2 || 0.5), dropout: Math.max(job.dropout, 0.05) }
  return {
    verdict: 'overfitting',
    tone: 'fair',
    text: `From step ${best.step} on the rows are learnt by heart: training falls, validation rises. The checkpoint of step ${best.step} is the one to use.`,
    evidence: [{ from: best.step, to: lastStep, text: 'validation rises' }],
    change,
    changeText: job.steps > 0 ? `Train ${best.step} steps` : `Train ${change.epochs} epochs with a little dropout`,
  }
}

/** The loss ends well above where it has been, beyond what its own jumps explain. */
function diverging(curves: Curves, job: Job): Diagnosis | null {
  const { blocks, jitter, lastStep } = curves
  const low = blocks.reduce((least, block) => (block.mean < least.mean ? block : least))
  const last = blocks.at(-1)
  const first = blocks[0]
  if (!last || !first || last === low) return null
  const rise = last.mean - low.mean
  const luck = 4 * jitter * Math.sqrt(1 / low.count + 1 / last.count)
  const gained = Math.max(0, first.mean - low.mean)
  if (rise < luck || rise < 0.1 + 0.05 * low.mean || rise < 0.5 * gained) return null
  return {
    verdict: 'diverging',
    tone: 'poor',
    text: `Since step ${low.to} the loss rises: the learning rate is too high.`,
    evidence: [{ from: low.to, to: lastStep, text: 'the loss rises' }],
    ...lowerRate(job, 3),
  }
}

/** The loss leapt up on gradients that had got out of hand, and came down as the rate did: less is learnt than could be. */
function wild({ leap, start, blocks, lastStep }: Curves, job: Job): Diagnosis | null {
  const last = blocks.at(-1)
  if (!leap || !last || last.mean < 0.1 * start) return null
  const rise = leap.high - leap.low
  if (rise < 0.5 || rise < 0.3 * (start - leap.low)) return null
  return {
    verdict: 'diverging',
    tone: 'poor',
    text: `At step ${leap.to} the loss had leapt from ${leap.low.toFixed(2)} to ${leap.high.toFixed(2)}, on gradients ${leap.norm.toFixed(0)} times as large as at first: the learning rate is too high, and much of what was learnt was lost.`,
    evidence: [{ from: leap.from, to: Math.min(leap.to, lastStep), text: 'the loss leaps up' }],
    ...lowerRate(job, 5),
  }
}

/** In file order, the same waves in every pass: the loss follows the order of the rows. */
function order(curves: Curves, job: Job): Diagnosis | null {
  if (job.shuffle || curves.waves === null || curves.waves.alike < 0.8 || curves.waves.height < 0.15) return null
  return {
    verdict: 'order',
    tone: 'fair',
    text: 'The loss goes up and down in the same way in every pass: it follows the order of the rows.',
    evidence: [{ from: 1, to: curves.lastStep, text: 'the same waves in every pass' }],
    change: { shuffle: true },
    changeText: 'Shuffle the rows',
  }
}

/** The smoothed loss still moves by more than 0.1 around its course. */
function noisy(curves: Curves, job: Job): Diagnosis | null {
  if (curves.losses.length < 30 || curves.fluctuation <= Math.max(0.1, 0.03 * curves.level)) return null
  return {
    verdict: 'noisy',
    tone: 'fair',
    text: `Even smoothed the loss moves by ${curves.fluctuation.toFixed(2)} around its course: too few rows a step, or too high a rate.`,
    evidence: [{ from: curves.steps[curves.settled] ?? 1, to: curves.lastStep, text: 'the smoothed loss moves about' }],
    ...(job.batchSize * job.gradAccum >= MANY_ROWS
      ? lowerRate(job, 3)
      : { change: { gradAccum: job.gradAccum * 4 }, changeText: `Add up ${job.gradAccum * 4} batches a step` }),
  }
}

/** Hardly any progress from the first step on. */
function slow(curves: Curves, job: Job): Diagnosis | null {
  const { blocks, losses, lastStep } = curves
  const first = blocks[0]
  const last = blocks.at(-1)
  if (!first || !last || losses.length < 30 || curves.afterWarmup < 25) return null
  const drop = first.mean - last.mean
  const start = curves.start
  if (drop > 0.04 * first.mean || start - last.mean > 0.1 * start || last.mean < 0.3) return null
  const rate = Math.min(1, job.learningRate * 10)
  return {
    verdict: 'slow',
    tone: 'poor',
    text: `In ${losses.length} steps the loss has hardly moved: the learning rate is too low for this model.`,
    evidence: [{ from: 1, to: lastStep, text: 'hardly any change' }],
    change: { learningRate: rate },
    changeText: `Use ten times the learning rate (${rate.toPrecision(2)})`,
  }
}

/** It fell, and then stood still at a high loss for most of the run, though the rate was not yet low. */
function plateau(curves: Curves, job: Job): Diagnosis | null {
  const { blocks, losses, lastStep } = curves
  const half = Math.floor(blocks.length / 2)
  const first = blocks[0]
  const middle = blocks[half]
  const last = blocks.at(-1)
  if (!first || !middle || !last || losses.length < 40 || last.mean < 0.5) return null
  const total = curves.start - last.mean
  const late = dropOver(blocks, half)
  const luck = 2 * curves.jitter * Math.sqrt(2 / last.count)
  const high = last.mean > 0.6 * curves.start
  if (total < 0.05 * last.mean || !high || Math.abs(late) > Math.max(0.04 * total, Math.min(luck, 0.08 * total)))
    return null
  if (curves.rateAt(0.75) < 0.5) return null
  // A bump on the way down can look level as a whole, but not block by block.
  const uneven = Math.max(...blocks.slice(half).map((block) => Math.abs(block.mean - last.mean)))
  if (uneven > Math.max(0.12 * total, 2 * luck)) return null
  const room = moreRoom(job)
  return {
    verdict: 'plateau',
    tone: 'fair',
    text: `Since about step ${middle.from} the loss stands still at ${last.mean.toFixed(2)}: there is no more room to learn in, or the rate no longer suits.`,
    evidence: [{ from: middle.from, to: lastStep, text: 'no more progress' }],
    change: { ...room.change, schedule: 'cosine' },
    changeText: `${room.text} and lower the rate over the run`,
  }
}

/** Twice the room that a job's method has to learn in, where it has a size. */
function moreRoom(job: Job): { change: Partial<Job>; text: string } {
  switch (job.method) {
    case 'prompt':
    case 'prefix':
      return { change: { virtualTokens: Math.min(512, job.virtualTokens * 2) }, text: 'Double the virtual tokens' }
    case 'bottleneck':
      return { change: { bottleneckSize: Math.min(1024, job.bottleneckSize * 2) }, text: 'Double the bottleneck size' }
    case 'full':
      return { change: { trainedPart: 'all' }, text: 'Train all of the weights' }
    case 'ia3':
      return { change: { method: 'lora' }, text: 'Train a LoRA adapter, which has more room,' }
    default: {
      const rank = Math.min(256, job.rank * 2)
      return { change: { rank, alpha: job.alpha * (rank / job.rank) }, text: 'Double the rank' }
    }
  }
}

/** At the end of the run the loss is still falling nearly as fast as before. */
function underfitting(curves: Curves, job: Job): Diagnosis | null {
  const { blocks, losses, lastStep } = curves
  const first = blocks[0]
  const last = blocks.at(-1)
  if (!first || !last || losses.length < 20 || curves.progress < 0.9) return null
  const total = curves.start - last.mean
  const third = Math.floor((blocks.length * 2) / 3) - 1
  const late = dropOver(blocks, third)
  const luck = 3 * curves.jitter * Math.sqrt(2 / last.count)
  if (late < 0.2 * total || late < luck || last.mean < 0.4 * first.mean) return null
  return {
    verdict: 'underfitting',
    tone: 'fair',
    text: 'The run ended while the loss was still falling: there is more to learn.',
    evidence: [{ from: blocks[third]?.from ?? 1, to: lastStep, text: 'still falling' }],
    change: job.steps > 0 ? { steps: job.steps * 2 } : { epochs: job.epochs * 2 },
    changeText: job.steps > 0 ? `Train ${job.steps * 2} steps` : `Train ${job.epochs * 2} epochs`,
  }
}

function healthy(curves: Curves): Diagnosis {
  const { evals, lastStep } = curves
  const settled = settledAt(curves)
  const text =
    evals.length < 2
      ? 'The loss falls as it should.'
      : settled
        ? `The loss fell as it should. Validation has stood at about ${settled.loss.toFixed(2)} since step ${settled.step}: more steps on these rows would hardly help.`
        : 'Training and validation fall together, as they should.'
  return { verdict: 'healthy', tone: 'good', text, evidence: [{ from: 1, to: lastStep, text: 'falling' }] }
}

/** Where validation came as low as it is, if that was long ago in a run that is half over; null while it falls. */
function settledAt({ evals, evalNoise, lastStep, progress }: Curves): { step: number; loss: number } | null {
  if (evals.length < 4 || progress < 0.5) return null
  const least = Math.min(...evals.map(({ loss }) => loss))
  const margin = Math.max(0.02, 0.02 * least, evalNoise)
  const first = evals.find(({ loss }) => loss <= least + margin)
  return first && first.step <= 0.75 * lastStep ? { step: first.step, loss: least } : null
}

function lowerRate(job: Job, by: number): Pick<Diagnosis, 'change' | 'changeText'> {
  const rate = job.learningRate / by
  return {
    change: { learningRate: rate },
    changeText: `Use a ${by === 3 ? 'third' : 'fifth'} of the learning rate (${rate.toPrecision(2)})`,
  }
}
