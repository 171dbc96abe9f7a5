/** SwiGLU, GELU (exact and tanh) and GEGLU with gradients; refuse shapes that differ between gate and up. */
import { tf } from '../tf'
import { differentiable } from './gradient'

/** `exact`: x·Φ(x) with erf ("gelu"); `tanh`: the approximation named "gelu_new" and "gelu_pytorch_tanh". */
export type GeluKind = 'exact' | 'tanh'

const ROOT_2_OVER_PI = Math.sqrt(2 / Math.PI)
const CUBIC = 0.044715

/** Φ-like factor f with gelu(x) = x·f(x), and the derivative of gelu. */
function geluParts(x: tf.Tensor, kind: GeluKind): { factor: tf.Tensor; slope: () => tf.Tensor } {
  if (kind === 'exact') {
    const factor = tf.mul(tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1), 0.5)
    const density = (): tf.Tensor => tf.mul(tf.exp(tf.mul(tf.square(x), -0.5)), 1 / Math.sqrt(2 * Math.PI))
    return { factor, slope: () => tf.add(factor, tf.mul(x, density())) }
  }
  const square = tf.square(x)
  const inner = tf.mul(tf.mul(x, tf.add(tf.mul(square, CUBIC), 1)), ROOT_2_OVER_PI)
  const t = tf.tanh(inner)
  const factor = tf.mul(tf.add(t, 1), 0.5)
  const slope = (): tf.Tensor => {
    const dInner = tf.mul(tf.add(tf.mul(square, 3 * CUBIC), 1), ROOT_2_OVER_PI)
    return tf.add(factor, tf.mul(tf.mul(tf.mul(x, 0.5), tf.sub(1, tf.square(t))), dInner))
  }
  return { factor, slope }
}

/** `[n, d] → [n, d]`. Plain TensorFlow.js, any backend. */
export function geluReference(x: tf.Tensor2D, kind: GeluKind): tf.Tensor2D {
  return differentiable<tf.Tensor2D>({
    inputs: [x],
    forward: (save) => {
      save([x])
      return tf.mul(x, geluParts(x, kind).factor)
    },
    backward: (dy, saved) => [tf.mul(dy, geluParts(saved[0]!, kind).slope())],
  })
}

/** `[n, d] → [n, d]`: x·Φ(x) (Hendrycks & Gimpel 2016) or its tanh form. */
export function gelu(x: tf.Tensor2D, kind: GeluKind): tf.Tensor2D {
  return geluReference(x, kind)
}

/** gelu(gate) · up. Plain TensorFlow.js, any backend. */
export function gegluReference(gate: tf.Tensor2D, up: tf.Tensor2D, kind: GeluKind): tf.Tensor2D {
  return differentiable<tf.Tensor2D>({
    inputs: [gate, up],
    forward: (save) => {
      save([gate, up])
      return tf.mul(tf.mul(gate, geluParts(gate, kind).factor), up)
    },
    backward: (dy, saved) => {
      const [gate, up] = saved as [tf.Tensor2D, tf.Tensor2D]
      const { factor, slope } = geluParts(gate, kind)
      return [tf.mul(tf.mul(dy, up), slope()), tf.mul(tf.mul(dy, gate), factor)]
    },
  })
}

/** `[n, d], [n, d] → [n, d]`: gelu(gate) · up (Shazeer 2020). */
export function geglu(gate: tf.Tensor2D, up: tf.Tensor2D, kind: GeluKind): tf.Tensor2D {
  return gegluReference(gate, up, kind)
}

/** silu(gate) · up. Plain TensorFlow.js, any backend. */
export function swigluReference(gate: tf.Tensor2D, up: tf.Tensor2D): tf.Tensor2D {
  return differentiable<tf.Tensor2D>({
    inputs: [gate, up],
    forward: (save) => {
      save([gate, up])
      return tf.mul(tf.mul(gate, tf.sigmoid(gate)), up)
    },
    backward: (dy, saved) => {
      const [gate, up] = saved as [tf.Tensor2D, tf.Tensor2D]
      const s = tf.sigmoid(gate)
      const silu = tf.mul(gate, s)
      const slope = tf.add(s, tf.mul(silu, tf.sub(1, s)))
      return [tf.mul(tf.mul(dy, up), slope), tf.mul(dy, silu)]
    },
  })
}

/** `[n, d], [n, d] → [n, d]`: silu(gate) · up (Shazeer 2020). */
export function swiglu(gate: tf.Tensor2D, up: tf.Tensor2D): tf.Tensor2D {
  return swigluReference(gate, up)
}
