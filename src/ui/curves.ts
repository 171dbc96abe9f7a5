/** A run's metrics as the arrays a chart draws: one entry a step, smoothed, thinned. Refuses to fill gaps. */
import { decimate, smooth, type MetricBuffer, type MetricName } from '../shared/metrics'

export type Axis = 'step' | 'epoch' | 'time'
export type Series = 'loss' | 'evalLoss' | 'learningRate' | 'gradNorm'
type Line = (number | null)[]

export interface Curves {
  /** Along x: steps, epochs, or seconds of training. */
  x: number[]
  step: number[]
  raw: Line
  smoothed: Line
  valid: Line
  learningRate: Line
  gradNorm: Line
  /** In runs over preferences: by how much the better answers' reward is higher, and the share of pairs where it is. */
  rewards: { margin: Line; validMargin: Line; accuracy: Line; validAccuracy: Line } | null
}

/** More points than this cannot be told apart on any screen. */
const MOST_POINTS = 4000
const KEPT: readonly MetricName[] = [
  ...(['epoch', 'time', 'loss', 'evalLoss', 'learningRate', 'gradNorm'] as const),
  ...(['rewardMargin', 'rewardAccuracy', 'evalRewardMargin', 'evalRewardAccuracy'] as const),
]

/** One row a step: an evaluation has a row of its own in the buffer and joins its step's here. */
export function bySteps(metrics: MetricBuffer): Record<MetricName, number[]> {
  const rows = Object.fromEntries(KEPT.map((name) => [name, [] as number[]])) as Record<MetricName, number[]>
  rows.step = []
  const steps = metrics.column('step')
  const columns = KEPT.map((name) => [rows[name], metrics.column(name)] as const)
  for (let i = 0; i < steps.length; i++) {
    const step = steps[i] as number
    const same = rows.step.at(-1) === step
    if (!same) rows.step.push(step)
    for (const [kept, column] of columns) {
      const value = column[i] as number
      if (!same) kept.push(value)
      else if (Number.isFinite(value)) kept[kept.length - 1] = value
    }
  }
  return rows
}

/** @param weight of the moving average, 0 to below 1. */
export function curvesOf(metrics: MetricBuffer, axis: Axis, weight: number): Curves {
  const rows = bySteps(metrics)
  const smoothed = smooth(rows.loss, weight)
  const kept = decimate(rows.loss, MOST_POINTS)
  const keep =
    kept.length === rows.step.length
      ? kept
      : [...new Set([...kept, ...rows.evalLoss.flatMap((value, i) => (Number.isFinite(value) ? [i] : []))])].sort(
          (a, b) => a - b,
        )
  const pick = (values: ArrayLike<number>): Line =>
    keep.map((i) => (Number.isFinite(values[i]) ? (values[i] as number) : null))
  const along = rows[axis]
  const scale = axis === 'time' ? 1 / 1000 : 1
  return {
    x: keep.map((i) => (along[i] as number) * scale),
    step: keep.map((i) => rows.step[i] as number),
    raw: pick(rows.loss),
    smoothed: pick(smoothed),
    valid: pick(rows.evalLoss),
    learningRate: pick(rows.learningRate),
    gradNorm: pick(rows.gradNorm),
    rewards: !rows.rewardMargin.some(Number.isFinite)
      ? null
      : {
          margin: pick(smooth(rows.rewardMargin, weight)),
          validMargin: pick(rows.evalRewardMargin),
          accuracy: pick(smooth(rows.rewardAccuracy, weight)),
          validAccuracy: pick(rows.evalRewardAccuracy),
        },
  }
}

type Point = readonly [step: number, loss: number]

/** A run's smoothed training loss and its validation loss as points for a small drawing, the last step and the losses' range. */
export interface LossLines {
  train: Point[]
  valid: Point[]
  last: number
  low: number
  high: number
}

/** @param most about how many points of training loss. */
export function lossLines(metrics: MetricBuffer, weight: number, most: number): LossLines {
  const rows = bySteps(metrics)
  const losses = smooth(rows.loss, weight)
  const points = (values: ArrayLike<number>, at: Iterable<number>): Point[] =>
    [...at].filter((i) => Number.isFinite(values[i])).map((i) => [rows.step[i] as number, values[i] as number])
  const train = points(losses, decimate(losses, most))
  const valid = points(rows.evalLoss, rows.evalLoss.keys())
  return { train, valid, last: rows.step.at(-1) ?? 1, ...rangeOf([...train, ...valid]) }
}

/** The lowest and the highest loss. */
export function rangeOf(points: readonly Point[]): { low: number; high: number } {
  const losses = points.map(([, loss]) => loss)
  return { low: Math.min(...losses), high: Math.max(...losses) }
}

/** Places in a picture of a width and a height, and points as an SVG polyline takes them. */
export function drawn(
  { last, low, high }: Omit<LossLines, 'train' | 'valid'>,
  width: number,
  height: number,
  margin = 0,
) {
  const x = (step: number): number => (step / last) * width
  const y = (loss: number): number => margin + (height - 2 * margin) * (1 - (loss - low) / (high - low || 1))
  const line = (points: readonly Point[]): string =>
    points.map(([step, loss]) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`).join(' ')
  return { x, y, line }
}

/**
 * How far x reaches while a run is under way: a binary fraction of the whole, so that the sweep changes its scale in
 * jumps as a scope does, not with every step.
 */
export function reach(now: number, whole: number): number {
  if (!(whole > 0)) return now
  let span = whole
  while (span / 2 >= now * 1.02 && span / 2 >= whole / 64) span /= 2
  return span
}

/** Index of the entry nearest to a value; entries ascend. */
export function nearest(values: readonly number[], value: number): number {
  let low = 0
  let high = values.length - 1
  while (low < high) {
    const middle = (low + high) >> 1
    if ((values[middle] as number) < value) low = middle + 1
    else high = middle
  }
  const before = low - 1
  if (before >= 0 && value - (values[before] as number) < (values[low] as number) - value) return before
  return low
}
