/** How sure a number is: bootstrap over rows, Wilson's interval for a share. Refuses chance that a seed does not fix. */
import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
import type { Interval } from '../../shared/judgement'

/** Times that rows are drawn anew. */
const RESAMPLES = 1000

/**
 * A statistic of rows with the 95% percentile bootstrap interval (Efron 1979): rows are drawn with replacement, so that rows that
 * belong together (base and tuned on one prompt) stay together.
 * @param statistic of the rows of these numbers, which may repeat.
 */
export function bootstrap(
  rows: number,
  statistic: (indices: Uint32Array) => number,
  { resamples = RESAMPLES, seed = 1 }: { resamples?: number; seed?: number } = {},
): Interval {
  const indices = Uint32Array.from({ length: rows }, (_, i) => i)
  const value = statistic(indices)
  if (rows < 2) return { value, low: Number.NaN, high: Number.NaN }
  const generator = xoroshiro128plus(seed)
  const drawn = new Float64Array(resamples)
  for (let i = 0; i < resamples; i++) {
    for (let row = 0; row < rows; row++) indices[row] = uniformInt(generator, 0, rows - 1)
    drawn[i] = statistic(indices)
  }
  drawn.sort()
  return { value, low: quantile(drawn, 0.025), high: quantile(drawn, 0.975) }
}

/** The mean of values with its bootstrap interval. */
export function bootstrapMean(values: ArrayLike<number>, options?: { resamples?: number; seed?: number }): Interval {
  return bootstrap(values.length, (indices) => meanOf(values, indices), options)
}

/** The mean of the values of these rows; NaN without rows. */
export function meanOf(values: ArrayLike<number>, indices: ArrayLike<number>): number {
  let total = 0
  for (let i = 0; i < indices.length; i++) total += values[indices[i] as number] as number
  return total / indices.length
}

/** Wilson's 95% interval for `hits` of `trials` (Wilson 1927): right for few trials, and never outside 0 to 1. */
export function wilson(hits: number, trials: number): Interval {
  if (trials === 0) return { value: Number.NaN, low: 0, high: 1 }
  const z = 1.959963984540054
  const share = hits / trials
  const centre = (share + z ** 2 / (2 * trials)) / (1 + z ** 2 / trials)
  const half = (z * Math.sqrt((share * (1 - share)) / trials + z ** 2 / (4 * trials ** 2))) / (1 + z ** 2 / trials)
  return { value: share, low: hits === 0 ? 0 : centre - half, high: hits === trials ? 1 : centre + half }
}

/** Linear between neighbours, as numpy's default. */
function quantile(sorted: Float64Array, share: number): number {
  const at = share * (sorted.length - 1)
  const below = sorted[Math.floor(at)] as number
  const above = sorted[Math.ceil(at)] as number
  return below + (above - below) * (at - Math.floor(at))
}
