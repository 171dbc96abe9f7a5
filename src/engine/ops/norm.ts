/** RMSNorm and LayerNorm over the last axis with frozen weights; refuse to give the weights a gradient. */
import { tf } from '../tf'
import { differentiable } from './gradient'

/** `[n, d] → [n, d]`: x / sqrt(mean(x²) + eps) · weight (Zhang & Sennrich 2019). Plain TensorFlow.js, any backend. */
export function rmsNormReference(x: tf.Tensor2D, weight: tf.Tensor1D, eps: number): tf.Tensor2D {
  const inverse = (x: tf.Tensor2D): tf.Tensor2D => tf.rsqrt(tf.add(tf.mean(tf.square(x), 1, true), eps))
  return differentiable<tf.Tensor2D>({
    inputs: [x],
    forward: (save) => {
      save([x])
      return tf.mul(tf.mul(x, inverse(x)), weight)
    },
    backward: (dy, saved) => {
      const x = saved[0] as tf.Tensor2D
      const r = inverse(x)
      const normal = tf.mul(x, r)
      const dNormal = tf.mul(dy, weight)
      const along = tf.mean(tf.mul(dNormal, normal), 1, true)
      return [tf.mul(tf.sub(dNormal, tf.mul(normal, along)), r)]
    },
  })
}

/** `[n, d] → [n, d]`: x / sqrt(mean(x²) + eps) · weight. */
export function rmsNorm(x: tf.Tensor2D, weight: tf.Tensor1D, eps: number): tf.Tensor2D {
  return rmsNormReference(x, weight, eps)
}

/** `[n, d] → [n, d]`: (x − mean) / sqrt(variance + eps) · weight + bias (Ba et al. 2016). Plain TensorFlow.js, any backend. */
export function layerNormReference(
  x: tf.Tensor2D,
  weight: tf.Tensor1D,
  bias: tf.Tensor1D | null,
  eps: number,
): tf.Tensor2D {
  const normalise = (x: tf.Tensor2D): { normal: tf.Tensor2D; r: tf.Tensor2D } => {
    const centred = tf.sub(x, tf.mean(x, 1, true)) as tf.Tensor2D
    const r = tf.rsqrt(tf.add(tf.mean(tf.square(centred), 1, true), eps)) as tf.Tensor2D
    return { normal: tf.mul(centred, r), r }
  }
  return differentiable<tf.Tensor2D>({
    inputs: [x],
    forward: (save) => {
      save([x])
      const y = tf.mul(normalise(x).normal, weight) as tf.Tensor2D
      return bias ? tf.add(y, bias) : y
    },
    backward: (dy, saved) => {
      const { normal, r } = normalise(saved[0] as tf.Tensor2D)
      const dNormal = tf.mul(dy, weight)
      const along = tf.mul(normal, tf.mean(tf.mul(dNormal, normal), 1, true))
      return [tf.mul(tf.sub(tf.sub(dNormal, tf.mean(dNormal, 1, true)), along), r)]
    },
  })
}

/** `[n, d] → [n, d]`: (x − mean) / sqrt(variance + eps) · weight + bias. */
export function layerNorm(x: tf.Tensor2D, weight: tf.Tensor1D, bias: tf.Tensor1D | null, eps: number): tf.Tensor2D {
  return layerNormReference(x, weight, bias, eps)
}
