/** An endless, seeded stream of batches whose place is one number. Refuses to keep hidden state: restoring is exact. */
import { CodedError } from '../../shared/errors'
import type { BatchCursor, BatchSource, EncodedRow } from '../../shared/records'
import { permutation } from './random'

export interface BatchOptions {
  batchSize: number
  /** A new seeded order each pass; otherwise file order. */
  shuffle: boolean
  seed: number
}

/**
 * Batches of exactly `batchSize` rows that wrap round from one pass to the next. The order of pass `n` follows from seed and
 * `n` alone, so a cursor (rows taken, seed) is all that is needed to go on.
 * @throws CodedError `data.empty` without rows.
 */
export function createBatches(rows: readonly EncodedRow[], options: BatchOptions): BatchSource {
  if (rows.length === 0) {
    throw new CodedError('data.empty', 'There are no rows to train on.', {
      fix: 'Add examples, or mend the ones set aside.',
    })
  }
  let seed = options.seed
  let position = 0
  let pass = -1
  let order: Uint32Array = new Uint32Array(0)

  function rowAt(place: number): EncodedRow {
    const wanted = Math.floor(place / rows.length)
    const within = place % rows.length
    if (!options.shuffle) return rows[within] as EncodedRow
    if (wanted !== pass) {
      pass = wanted
      order = permutation(rows.length, seed, pass)
    }
    return rows[order[within] as number] as EncodedRow
  }

  return {
    rows: rows.length,
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
