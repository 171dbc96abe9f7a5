/** How much of what is computed only fills batches up, and what grouping and packing would save. Refuses to know tokens. */
import { passOrder, type OrderOptions } from './order'

/** Shares of padding among the tokens of a pass, 0 to 1. */
export interface PaddingShares {
  /** Rows as they come in a seeded order. */
  shuffled: number
  /** Rows of like length in one batch. */
  bucketed: number
  /** Rows of a batch one after the other. */
  packed: number
}

/**
 * What a pass over rows of these lengths costs in padding.
 * @param lengths tokens of each row after cutting.
 */
export function paddingShares(lengths: readonly number[], options: OrderOptions): PaddingShares {
  const inOrder = (groupByLength: boolean) => {
    const order = passOrder(lengths.length, [], 0, { ...options, groupByLength }, (i) => lengths[i] as number)
    return Array.from(order, (i) => lengths[i] as number)
  }
  const [shuffled, grouped] = [inOrder(false), inOrder(true)]
  const { batchSize } = options
  return {
    shuffled: waste(shuffled, batchSize, apart),
    bucketed: waste(grouped, batchSize, apart),
    packed: waste(shuffled, batchSize, packed),
  }
}

function waste(lengths: readonly number[], batchSize: number, room: (batch: readonly number[]) => number): number {
  let filled = 0
  let taken = 0
  for (let at = 0; at < lengths.length; at += batchSize) {
    const batch = lengths.slice(at, at + batchSize)
    filled += batch.reduce((sum, length) => sum + length, 0)
    taken += room(batch)
  }
  return taken === 0 ? 0 : 1 - filled / taken
}

/** Every row as long as the longest. */
function apart(batch: readonly number[]): number {
  return batch.length * Math.max(...batch)
}

/** Rows as long as the longest, each holding what fits: first fit from the longest on. */
function packed(batch: readonly number[]): number {
  const length = Math.max(...batch)
  const rows: number[] = []
  for (const one of [...batch].sort((a, b) => b - a)) {
    const row = rows.findIndex((used) => used + one <= length)
    if (row < 0) rows.push(one)
    else rows[row] = (rows[row] as number) + one
  }
  return rows.length * length
}
