/**
 * Rotary position embedding in transformers' rotate-half convention (Su et al. 2021).
 * Refuses to know about scaling: the caller brings the tables.
 */
import { tf } from '../tf'
import { differentiable } from './gradient'

function rotate(x: tf.Tensor4D, cos: tf.Tensor2D, sin: tf.Tensor2D, direction: 1 | -1): tf.Tensor4D {
  const [batch, time, heads, d] = x.shape
  const half = cos.shape[1]
  const c = tf.reshape(cos, [1, time, 1, half])
  const s = tf.reshape(sin, [1, time, 1, half])
  const part = (from: number, size: number): tf.Tensor4D => tf.slice(x, [0, 0, 0, from], [batch, time, heads, size])
  const first = part(0, half)
  const second = part(half, half)
  const cross = (a: tf.Tensor4D, b: tf.Tensor4D, sign: number): tf.Tensor4D =>
    sign > 0 ? tf.add(tf.mul(a, c), tf.mul(b, s)) : tf.sub(tf.mul(a, c), tf.mul(b, s))
  const parts = [cross(first, second, -direction), cross(second, first, direction)]
  if (2 * half < d) parts.push(part(2 * half, d - 2 * half))
  return tf.concat(parts, 3)
}

/** `[b, t, heads, d] → same`, tables `[t, rot/2]`. Plain TensorFlow.js, any backend. */
export function ropeReference(x: tf.Tensor4D, cos: tf.Tensor2D, sin: tf.Tensor2D): tf.Tensor4D {
  return differentiable<tf.Tensor4D>({
    inputs: [x],
    forward: () => rotate(x, cos, sin, 1),
    backward: (dy) => [rotate(dy, cos, sin, -1)],
  })
}

/**
 * Rotates pairs (i, i + rot/2) of each head's first `rot` channels by the angle whose cosine and sine stand in row t of the
 * tables; channels from `rot` on pass through. x `[b, t, heads, d]`, cos and sin `[t, rot/2]`, rot ≤ d.
 */
export function rope(x: tf.Tensor4D, cos: tf.Tensor2D, sin: tf.Tensor2D): tf.Tensor4D {
  return ropeReference(x, cos, sin)
}
