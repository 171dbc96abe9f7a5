/** A run's metrics as the numbers a diagnosis needs: blocks, jitter, fluctuation, waves. Refuses to judge them. */
import { warmupOf, type Job } from '../shared/job'
import { smooth, type MetricBuffer } from '../shared/metrics'

/** A stretch of consecutive steps. */
interface Block {
  from: number
  to: number
  mean: number
  count: number
}

/** A leap of the loss that large gradients came with: the medians of three losses before and at its height. */
interface Leap {
  from: number
  to: number
  low: number
  high: number
  /** Gradient norm at its height over that of the first steps. */
  norm: number
}

export interface Curves {
  /** Finite training losses, with their steps and epochs. */
  losses: number[]
  steps: number[]
  epochs: number[]
  evals: { step: number; loss: number }[]
  /** Steps whose loss and gradient were both exactly zero. */
  empty: number[]
  lastStep: number
  /** First step whose loss or gradient norm was no number; null where all were. */
  firstBad: number | null
  /** Ten stretches of equal length (fewer for short runs). */
  blocks: Block[]
  /** Standard deviation of the loss from one step to the next, without its course. */
  jitter: number
  /** Standard deviation of the smoothed loss around its course: the middle one of three stretches of the settled part. */
  fluctuation: number
  /** The loss at the very beginning: a lower bound that the jumps of three steps do not explain. */
  start: number
  /** Index from which the first fall is over. */
  settled: number
  /** Mean loss of the settled part. */
  level: number
  /** Jumps of the validation loss from one evaluation to the next, without its course. */
  evalNoise: number
  /** Share of the run that is over, 0 to 1. */
  progress: number
  /** Steps since the warm-up. */
  afterWarmup: number
  /** Where the loss leapt up while the gradients were several times as large as at first; null where it did not. */
  leap: Leap | null
  /** How alike the passes' waves are (-1 to 1) and how high (nats); null where there are no two whole passes. */
  waves: { alike: number; height: number } | null
  /** Mean loss around and before a step, and after it. */
  meanUpTo(step: number): number
  meanAfter(step: number): number
  /** Learning rate at a share of the steps so far, relative to the highest. */
  rateAt(share: number): number
}

const BLOCKS = 10
/** Weight of the smoothing after which the loss should move by less than 0.1. */
const SMOOTHING = 0.9

/** Reads the columns of a run; rows without a training loss are evaluations or nothing. */
export function readCurves(metrics: MetricBuffer, job: Job): Curves {
  const column = (name: Parameters<MetricBuffer['column']>[0]) => metrics.column(name)
  const [step, epoch, loss, evalLoss] = [column('step'), column('epoch'), column('loss'), column('evalLoss')]
  const [gradNorm, rate] = [column('gradNorm'), column('learningRate')]
  const losses: number[] = []
  const steps: number[] = []
  const epochs: number[] = []
  const rates: number[] = []
  const norms: number[] = []
  const evals: { step: number; loss: number }[] = []
  const empty: number[] = []
  let firstBad: number | null = null
  for (let i = 0; i < metrics.length; i++) {
    const at = step[i] as number
    if (Number.isFinite(evalLoss[i])) evals.push({ step: at, loss: evalLoss[i] as number })
    if (Number.isFinite(loss[i])) {
      losses.push(loss[i] as number)
      steps.push(at)
      epochs.push(epoch[i] as number)
      rates.push(rate[i] as number)
      norms.push(gradNorm[i] as number)
      if (loss[i] === 0 && gradNorm[i] === 0) empty.push(at)
    } else if (Number.isFinite(rate[i]) && !Number.isFinite(evalLoss[i])) firstBad ??= at
    if (gradNorm[i] === Infinity || loss[i] === Infinity) firstBad ??= at
  }
  return {
    losses,
    steps,
    epochs,
    evals,
    empty,
    firstBad,
    leap: leapOf(losses, norms, steps),
    ...measure(losses, steps, epochs, rates, evals, job, step.at(-1) ?? 0),
  }
}

type Measured = Omit<Curves, 'losses' | 'steps' | 'epochs' | 'evals' | 'empty' | 'firstBad' | 'leap'>

/** Gradients so many times those of the first steps are out of hand; healthy runs stay below twice, whatever their noise. */
const WILD_NORM = 2.5

/** The highest leap above the lowest loss so far, among steps whose gradients (medians of three) are out of hand. */
function leapOf(losses: readonly number[], norms: readonly number[], steps: readonly number[]): Leap | null {
  const [loss, norm] = [medians(losses), medians(norms)]
  const usual = norm[1] ?? 0
  let low = 0
  let wildest = 0
  let found: Leap | null = null
  for (let i = 1; i < loss.length; i++) {
    const [now, least] = [loss[i] as number, loss[low] as number]
    wildest = Math.max(wildest, norm[i] as number)
    if (now < least) {
      low = i
      // What was wild before a new low has been got over.
      wildest = 0
    } else if (usual > 0 && wildest >= WILD_NORM * usual && now - least > (found ? found.high - found.low : 0)) {
      found = { from: steps[low] ?? 1, to: steps[i] ?? 1, low: least, high: now, norm: wildest / usual }
    }
  }
  return found
}

/** Each value's median with its two neighbours; the ends stand for themselves. */
function medians(values: readonly number[]): number[] {
  return values.map((value, i) => {
    const [before, after] = [values[i - 1] ?? value, values[i + 1] ?? value]
    return Math.max(Math.min(before, value), Math.min(Math.max(before, value), after))
  })
}

function measure(
  losses: number[],
  steps: number[],
  epochs: number[],
  rates: number[],
  evals: { step: number; loss: number }[],
  job: Job,
  lastStep: number,
): Measured {
  const blocks = toBlocks(losses, steps)
  const jitter = deviation(differences(losses)) / Math.SQRT2
  const opening = average(losses, 0, Math.min(3, losses.length)) - (2 * jitter) / Math.sqrt(3)
  const settled = settledFrom(losses)
  const most = Math.max(0, ...rates.filter(Number.isFinite))
  const mean = (values: readonly number[]) => average(values, 0, values.length)
  const progress = job.steps > 0 ? lastStep / job.steps : (epochs.at(-1) ?? 0) / job.epochs
  return {
    lastStep,
    blocks,
    jitter,
    start: Math.max(blocks[0]?.mean ?? 0, opening),
    fluctuation: fluctuationOf(losses, settled),
    settled,
    level: average(losses, settled, losses.length),
    evalNoise: evals.length < 5 ? 0 : usualSize(secondDifferences(evals.map((point) => point.loss))) / Math.sqrt(6),
    progress,
    afterWarmup: lastStep - warmupOf(job, progress > 0 ? lastStep / progress : 0),
    waves: wavesOf(losses, epochs),
    meanUpTo: (step) =>
      mean(losses.filter((_, i) => (steps[i] as number) <= step).slice(-Math.max(10, losses.length / 5))),
    meanAfter: (step) => mean(losses.filter((_, i) => (steps[i] as number) > step)),
    rateAt: (share) =>
      most === 0 ? 1 : (rates[Math.min(rates.length - 1, Math.floor(share * rates.length))] ?? most) / most,
  }
}

/** How much the loss fell from a block to the end, as the difference of the halves' best straight line. */
export function dropOver(blocks: readonly Block[], from: number): number {
  const part = blocks.slice(from)
  if (part.length < 2) return 0
  const middle = (part.length - 1) / 2
  const mean = part.reduce((sum, block) => sum + block.mean, 0) / part.length
  let above = 0
  let below = 0
  part.forEach((block, i) => {
    above += (i - middle) * (block.mean - mean)
    below += (i - middle) ** 2
  })
  return -(above / below) * (part.length - 1)
}

function toBlocks(losses: readonly number[], steps: readonly number[]): Block[] {
  const count = Math.min(BLOCKS, Math.floor(losses.length / 2))
  return Array.from({ length: count }, (_, i) => {
    const start = Math.floor((i * losses.length) / count)
    const end = Math.floor(((i + 1) * losses.length) / count)
    return { from: steps[start] ?? 0, to: steps[end - 1] ?? 0, mean: average(losses, start, end), count: end - start }
  })
}

/** The index after which nine tenths of the smoothed fall are over, at most the middle. */
function settledFrom(losses: readonly number[]): number {
  const smoothed = smooth(losses, 0.8)
  const first = smoothed[0] ?? 0
  const low = smoothed.reduce((least, value) => Math.min(least, value), first)
  const there = smoothed.findIndex((value) => value <= low + 0.1 * (first - low))
  return Math.min(Math.max(0, there), Math.floor(losses.length / 2))
}

/**
 * Deviation of the smoothed loss from a parabola, over thirds of its settled part: noise is in all of them, the bend at the end of a steep
 * fall in one alone.
 */
function fluctuationOf(losses: readonly number[], settled: number): number {
  const smoothed = [...smooth(losses, SMOOTHING)].slice(Math.max(settled, 10))
  if (smoothed.length < 15) return 0
  if (smoothed.length < 3 * 15) return deviation(withoutParabola(smoothed))
  const thirds = [0, 1, 2].map((third) => {
    const [from, to] = [third, third + 1].map((edge) => Math.floor((edge * smoothed.length) / 3))
    return deviation(withoutParabola(smoothed.slice(from, to)))
  })
  return thirds.sort((a, b) => a - b)[1] as number
}

function withoutParabola(values: readonly number[]): number[] {
  const n = values.length
  const x = values.map((_, i) => (2 * i) / (n - 1) - 1)
  // Legendre polynomials are nearly orthogonal on a fine grid, so each coefficient stands alone.
  const p2 = x.map((t) => (3 * t * t - 1) / 2)
  const dot = (a: readonly number[], b: readonly number[]) =>
    a.reduce((sum, value, i) => sum + value * (b[i] as number), 0)
  const mean =
    dot(
      values,
      x.map(() => 1),
    ) / n
  const line = dot(values, x) / dot(x, x)
  const flat = values.map((value, i) => value - mean - line * (x[i] as number))
  const bend = dot(flat, p2) / dot(p2, p2)
  return flat.map((value, i) => value - bend * (p2[i] as number))
}

/** Each pass in six parts, without its own course; compared between passes. */
function wavesOf(losses: readonly number[], epochs: readonly number[]): { alike: number; height: number } | null {
  const parts = 6
  const sums = new Map<number, { sum: number; count: number }[]>()
  losses.forEach((loss, i) => {
    const epoch = (epochs[i] ?? Number.NaN) - 1e-9
    if (!Number.isFinite(epoch) || epoch < 0) return
    const pass = Math.floor(epoch)
    const cells = sums.get(pass) ?? Array.from({ length: parts }, () => ({ sum: 0, count: 0 }))
    const cell = cells[Math.min(parts - 1, Math.floor((epoch - pass) * parts))] as { sum: number; count: number }
    cell.sum += loss
    cell.count++
    sums.set(pass, cells)
  })
  const passes = [...sums.values()]
    .filter((cells) => cells.every((cell) => cell.count > 0))
    .map((cells) => withoutLine(cells.map((cell) => cell.sum / cell.count)))
  // The first pass falls too fast to compare.
  const compared = passes.length > 2 ? passes.slice(1) : passes
  if (compared.length < 2) return null
  const pairs = compared.slice(1).map((pass, i) => correlation(compared[i] as number[], pass))
  return { alike: average(pairs, 0, pairs.length), height: average(compared.map(deviation), 0, compared.length) }
}

/** Values without their best straight line. */
function withoutLine(values: readonly number[]): number[] {
  const middle = (values.length - 1) / 2
  const mean = average(values, 0, values.length)
  const spread = values.reduce((sum, _, i) => sum + (i - middle) ** 2, 0)
  const slope = values.reduce((sum, value, i) => sum + (i - middle) * value, 0) / spread
  return values.map((value, i) => value - mean - slope * (i - middle))
}

function correlation(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]) =>
    x.reduce((sum, value, i) => sum + value * (y[i] as number), 0)
  const size = Math.sqrt(dot(a, a) * dot(b, b))
  return size === 0 ? 0 : dot(a, b) / size
}

function differences(values: readonly number[]): number[] {
  return values.slice(1).map((value, i) => value - (values[i] as number))
}

function secondDifferences(values: readonly number[]): number[] {
  return differences(differences(values))
}

/** A standard deviation that a few large values do not raise: from the median of the sizes, as of a normal distribution. */
function usualSize(values: readonly number[]): number {
  const sizes = values.map(Math.abs).sort((a, b) => a - b)
  return 1.4826 * (sizes[sizes.length >> 1] ?? 0)
}

function average(values: readonly number[], from: number, to: number): number {
  let sum = 0
  for (let i = from; i < to; i++) sum += values[i] as number
  return to > from ? sum / (to - from) : Number.NaN
}

/** Standard deviation; 0 for fewer than two values. */
function deviation(values: readonly number[]): number {
  if (values.length < 2) return 0
  const mean = average(values, 0, values.length)
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1))
}
