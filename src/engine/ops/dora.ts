/**
 * DoRA (Liu et al. 2024): the rows of W + scale·B·A at lengths of their own, m / ‖W + scale·B·A‖, the norm taken as a constant as in PEFT.
 * Refuses to make the merged matrix: its row norms come from small products.
 */
import { tf } from '../tf'
import type { FrozenMatrix } from './frozen-matrix'
import { differentiable } from './gradient'
import { linear, type LoraPair } from './linear'

/** ‖row‖ of W + scale·B·A, `[out]`: ‖w‖² + 2·scale·(W·Aᵀ ⊙ B) + scale²·(B·A·Aᵀ ⊙ B), summed along each row. Not on the tape. */
export function rowNorms(w: FrozenMatrix, { a, b, scale }: Pick<LoraPair, 'a' | 'b' | 'scale'>): tf.Tensor1D {
  return tf.tidy(() => {
    const low = linear(a, w, null, null) // [r, out] = A·Wᵀ
    const crossed = tf.sum(tf.mul(low, tf.transpose(b)), 0)
    const gram = tf.matMul(a, tf.transpose(a))
    const squared = tf.sum(tf.mul(tf.matMul(b, gram), b), 1)
    const all = tf.add(w.rowSquares(), tf.add(tf.mul(crossed, tf.mul(scale, 2)), tf.mul(squared, tf.square(scale))))
    return tf.sqrt(tf.maximum(all, 1e-20)) as tf.Tensor1D
  })
}

/** m / ‖row‖, `[out]`, differentiable in m alone. */
function lengthFactor(m: tf.Tensor1D, w: FrozenMatrix, pair: LoraPair): tf.Tensor1D {
  return differentiable<tf.Tensor1D>({
    inputs: [m],
    forward: (save) => {
      const inverse = tf.reciprocal(rowNorms(w, pair)) as tf.Tensor1D
      save([inverse])
      return tf.mul(m, inverse)
    },
    backward: (dy, saved) => [tf.mul(dy, saved[0]!)],
  })
}

/**
 * `[n, in] → [n, out]`: (x·Wᵀ + scale·dropout(x)·Aᵀ·Bᵀ) ⊙ m / ‖W + scale·B·A‖ + bias, differentiable in x, A, B and m.
 * @param strength 1 as trained, 0 the base: what is between is between the two outputs.
 */
export function doraLinear(
  x: tf.Tensor2D,
  w: FrozenMatrix,
  bias: tf.Tensor1D | null,
  pair: LoraPair,
  m: tf.Tensor1D,
  strength = 1,
): tf.Tensor2D {
  const tuned = tf.mul(linear(x, w, null, pair), lengthFactor(m, w, pair)) as tf.Tensor2D
  const y = strength === 1 ? tuned : tf.add(tf.mul(linear(x, w, null, null), 1 - strength), tf.mul(tuned, strength))
  return (bias ? tf.add(y, bias) : y) as tf.Tensor2D
}
