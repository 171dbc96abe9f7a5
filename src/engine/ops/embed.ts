/** Rows of an embedding table, with a gradient for the table where it is trained. */
import type { tf } from '../tf'
import type { FrozenMatrix } from './frozen-matrix'
import { differentiable } from './gradient'
import { scatterRows } from './trained'

/** int32 ids `[n]` → `[n, d]`; the ids must lie in [0, table.out). */
export function embed(ids: tf.Tensor1D, table: FrozenMatrix): tf.Tensor2D {
  const { trained } = table
  if (!trained) return table.rows(ids)
  return differentiable<tf.Tensor2D>({
    inputs: [trained],
    forward: (save) => {
      save([ids])
      return table.rows(ids)
    },
    backward: (dy, [ids]) => [scatterRows(ids as tf.Tensor1D, dy, table.out)],
  })
}
