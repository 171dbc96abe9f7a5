/** Rows of a frozen embedding table; refuses to train the table. */
import type { tf } from '../tf'
import type { FrozenMatrix } from './frozen-matrix'

/** int32 ids `[n]` → `[n, d]`; the ids must lie in [0, table.out). */
export function embed(ids: tf.Tensor1D, table: FrozenMatrix): tf.Tensor2D {
  return table.rows(ids)
}
