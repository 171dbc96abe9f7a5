/** An endless, seeded stream of batches whose place is one number. Refuses to keep hidden state: restoring is exact. */
import { CodedError } from '../../shared/errors'
import type { BatchCursor, BatchSource, EncodedRow } from '../../shared/records'
import { extraCounts, passOrder, type OrderOptions } from './order'

type BatchOptions = OrderOptions

/** Rows of another dataset and the share of each pass that comes from them. */
export interface MixedRows {
  rows: readonly EncodedRow[]
  share: number
}

/**
 * Batches of exactly `batchSize` rows that wrap round from one pass to the next. The order of pass `n` follows from seed and
 * `n` alone, so a cursor (rows taken, seed) is all that is needed to go on. A pass takes every row once, and of what is mixed in
 * as many as make up its share, going on through it from pass to pass.
 * @throws CodedError `data.empty` without rows; `job.invalid` where the shares leave nothing for the rows themselves.
 */
export function createBatches(
  rows: readonly EncodedRow[],
  options: BatchOptions,
  mixed: readonly MixedRows[] = [],
): BatchSource {
  if (rows.length === 0) {
    throw new CodedError('data.empty', 'There are no rows to train on.', {
      fix: 'Add examples, or mend the ones set aside.',
    })
  }
  const extras = mixed.map(({ rows: { length }, share }) => ({ count: length, share }))
  checkShares(extras)
  const all = mixed.length === 0 ? rows : [...rows, ...mixed.flatMap((other) => other.rows)]
  const size = extraCounts(rows.length, extras).reduce((sum, count) => sum + count, rows.length)
  const lengthOf = (index: number) => (all[index] as EncodedRow).inputIds.length
  let seed = options.seed
  let position = 0
  let pass = -1
  let order: Uint32Array = new Uint32Array(0)

  function rowAt(place: number): EncodedRow {
    const wanted = Math.floor(place / size)
    if (wanted !== pass) {
      pass = wanted
      order = passOrder(rows.length, extras, pass, { ...options, seed }, lengthOf)
    }
    return all[order[place % size] as number] as EncodedRow
  }

  return {
    rows: size,
    next() {
      const batch = Array.from({ length: options.batchSize }, (_, i) => rowAt(position + i))
      position += options.batchSize
      return batch
    },
    cursor: (): BatchCursor => ({ position, seed }),
    restore(cursor) {
      position = cursor.position
      seed = cursor.seed
      pass = -1
    },
  }
}

function checkShares(extras: readonly { share: number }[]): void {
  const sum = extras.reduce((total, { share }) => total + share, 0)
  if (sum < 1) return
  throw new CodedError('job.invalid', `The shares of what is mixed in add up to ${Number(sum.toFixed(3))}.`, {
    where: 'mix',
    fix: 'Leave something for the dataset itself: shares that add up to less than 1.',
  })
}
