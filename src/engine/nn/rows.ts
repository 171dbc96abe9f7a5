/** Rows of a matrix by number, as a plain copy where memory is at hand. Refuses to be differentiated: callers know the way back. */
import { heapTensor, onHeap, views, type RowNumbers } from '../ops/heap'
import { tf } from '../tf'

export type { RowNumbers }

/**
 * Row `numbers[i]` of `x` `[n, d]` as row i, `[m, d]`. The number n stands for a row of zeros.
 * @param zeros whether n occurs.
 */
export function takeRows(x: tf.Tensor2D, numbers: RowNumbers, zeros: boolean): tf.Tensor2D {
  const [n, d] = x.shape
  if (onHeap()) {
    const taken = heapTensor<tf.Rank.R2>([numbers.host.length, d])
    const [from, to] = views(x, taken) as [Float32Array, Float32Array]
    numbers.host.forEach((row, i) => {
      if (row < n) to.set(from.subarray(row * d, (row + 1) * d), i * d)
      else to.fill(0, i * d, (i + 1) * d)
    })
    return taken
  }
  const source = zeros ? tf.concat([x, tf.fill([1, d], 0) as tf.Tensor2D], 0) : x
  return tf.gather(source, numbers.device)
}
