/** Divides rows into training and validation by a seed. Refuses to put a row, or a group, on both sides. */
import type { Job } from '../../shared/job'
import { permutation } from './random'

/** Stream number of the split, so that it is unrelated to the order of any epoch. */
const SPLIT_STREAM = -7

export interface Split {
  /** Row numbers in file order. */
  train: number[]
  eval: number[]
}

/**
 * Row numbers for training and validation, each in file order. With a fraction above 0 and at least two rows (or groups) there is
 * at least one on either side.
 * @param fraction share of validation rows, 0 to 1.
 * @param how `stratified` holds back the same share of every key; `grouped` keeps rows of one key on the same side.
 * @param keys each row's key; not looked at for `random`.
 */
export function splitRows(
  count: number,
  fraction: number,
  seed: number,
  how: Job['evalSplit'] = 'random',
  keys: readonly string[] = [],
): Split {
  const all = Array.from({ length: count }, (_, i) => i)
  if (!(fraction > 0) || count < 2) return { train: all, eval: [] }
  const held = Math.min(count - 1, Math.max(1, Math.round(count * fraction)))
  const order = permutation(count, seed, SPLIT_STREAM)
  const chosen =
    how === 'stratified'
      ? stratified(order, keys, held)
      : how === 'grouped'
        ? grouped(order, keys, held)
        : new Set(order.subarray(0, held))
  return { train: all.filter((i) => !chosen.has(i)), eval: all.filter((i) => chosen.has(i)) }
}

/** Rows by key, in the seeded order. */
function byKey(order: Uint32Array, keys: readonly string[]): number[][] {
  const groups = new Map<string, number[]>()
  for (const row of order) {
    const key = keys[row] ?? ''
    const group = groups.get(key)
    if (group) group.push(row)
    else groups.set(key, [row])
  }
  return [...groups.values()]
}

/** `held` rows, of every key its share by the largest remainder; a key's last row stays for training while others have more. */
function stratified(order: Uint32Array, keys: readonly string[], held: number): Set<number> {
  const groups = byKey(order, keys)
  const shares = groups.map((group) => (group.length * held) / order.length)
  const counts = shares.map((share) => Math.floor(share))
  const most = groups.map((group) => Math.max(0, group.length - 1))
  const rank = groups.map((_, g) => g).sort((a, b) => shares[b]! - counts[b]! - (shares[a]! - counts[a]!))
  let left = held - counts.reduce((sum, count) => sum + count, 0)
  for (let given = -1; given !== 0 && left > 0; left -= given) {
    const room = rank.filter((g) => counts[g]! < most[g]!).slice(0, left)
    for (const g of room) counts[g]!++
    given = room.length
  }
  return new Set(groups.flatMap((group, g) => group.slice(0, counts[g])))
}

/** Whole groups in a seeded order until about `held` rows are reached, passing over those that are far too large. */
function grouped(order: Uint32Array, keys: readonly string[], held: number): Set<number> {
  const groups = byKey(order, keys)
  const chosen = new Set<number>()
  if (groups.length < 2) return chosen
  let taken = 0
  const take = (group: readonly number[]) => {
    for (const row of group) chosen.add(row)
    taken++
  }
  for (const group of groups) {
    if (chosen.size >= held || taken === groups.length - 1) break
    const over = chosen.size + group.length - held
    if (over <= Math.max(held - chosen.size, 0)) take(group)
  }
  if (taken === 0) take(groups.reduce((least, group) => (group.length < least.length ? group : least)))
  return chosen
}
