/** Divides rows into training and validation by a seed. Refuses to put a row on both sides. */
import { permutation } from './random'

/** Stream number of the split, so that it is unrelated to the order of any epoch. */
const SPLIT_STREAM = -7

/**
 * Row numbers for training and validation, each in file order. With a fraction above 0 and at least two rows there is at
 * least one row on either side.
 * @param fraction share of validation rows, 0 to 1.
 */
export function splitRows(count: number, fraction: number, seed: number): { train: number[]; eval: number[] } {
  const all = Array.from({ length: count }, (_, i) => i)
  if (!(fraction > 0) || count < 2) return { train: all, eval: [] }
  const held = Math.min(count - 1, Math.max(1, Math.round(count * fraction)))
  const chosen = new Uint8Array(count)
  for (const index of permutation(count, seed, SPLIT_STREAM).subarray(0, held)) chosen[index] = 1
  return { train: all.filter((i) => !chosen[i]), eval: all.filter((i) => chosen[i]) }
}
