/**
 * Causal scaled dot-product attention with grouped keys, a past, a sliding window and several examples a row, and gradients for q, k and v.
 * Refuses non-causal masks; padding on the right needs none.
 */
import { tf } from '../tf'
import { attentionHeapBackward, attentionHeapForward } from './attention-heap'
import { attentionBackward, attentionForward } from './attention-gpu'
import { reach, type AttentionOptions } from './attention-reach'
import { onGPU } from './gpu'
import { differentiable } from './gradient'
import { onHeap } from './heap'

const HIDDEN = -1e30

/** Additive masks `[groups·t, s]`, one a batch row or one for all: 0 where query i may look, a huge negative number elsewhere. */
function causalMasks(q: tf.Tensor4D, k: tf.Tensor4D, options: AttentionOptions): (group: number) => tf.Tensor2D {
  const [batch, time, heads] = q.shape
  const [, keys, kv] = k.shape
  const count = options.starts ? batch : 1
  const masks = Array.from({ length: count }, (_, b) => causalMask(b, time, keys, heads / kv, options))
  return (group) => masks[options.starts ? Math.floor(group / kv) : 0] as tf.Tensor2D
}

function causalMask(b: number, time: number, keys: number, groups: number, options: AttentionOptions): tf.Tensor2D {
  const values = new Float32Array(groups * time * keys)
  for (let g = 0; g < groups; g++) {
    for (let i = 0; i < time; i++) {
      const [first, last] = reach(b, i, time, options)
      const row = (g * time + i) * keys
      for (let j = 0; j < keys; j++) if (j < first || j > last) values[row + j] = HIDDEN
    }
  }
  return tf.tensor2d(values, [groups * time, keys])
}

/** Throws where heads, lengths and past do not fit together. */
function checkAttention(q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D, options: AttentionOptions): void {
  const [b, t, h, d] = q.shape
  const [kb, s, kv, kd] = k.shape
  const { starts, past } = options
  const packs = !starts || (starts.host.length === b * t && past === 0 && s === t)
  if (kb !== b || kd !== d || h % kv !== 0 || s < past + t || v.shape.join() !== k.shape.join() || !packs)
    throw new Error(
      `attention of q [${q.shape.join()}], k [${k.shape.join()}], v [${v.shape.join()}], past ${past}, starts ${starts?.host.length}`,
    )
}

/** `[b, x, heads, d]` as one `[(heads/kv)·x, d]` matrix for each of b·kv, heads of a group one below the other. */
function split(x: tf.Tensor4D, kv: number): tf.Tensor2D[] {
  const [b, length, heads, d] = x.shape
  const rows = (heads / kv) * length
  const flat = tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [b * kv, rows, d]) as tf.Tensor3D
  return Array.from(
    { length: b * kv },
    (_, i) => tf.reshape(tf.slice(flat, [i, 0, 0], [1, rows, d]), [rows, d]) as tf.Tensor2D,
  )
}

/** The inverse of {@link split}. */
function join(parts: tf.Tensor2D[], shape: [number, number, number, number]): tf.Tensor4D {
  const [b, length, heads, d] = shape
  const flat = parts.length === 1 ? parts[0]! : tf.concat(parts, 0)
  return tf.transpose(tf.reshape(flat, [b, heads, length, d]), [0, 2, 1, 3]) as tf.Tensor4D
}

/** Softmax of the masked scores, and the scores' own slope where a softcap bends them. */
function probabilities(
  q: tf.Tensor2D,
  k: tf.Tensor2D,
  mask: tf.Tensor2D,
  { scale, softcap }: AttentionOptions,
): { p: tf.Tensor2D; slope: tf.Tensor2D | null } {
  const scores = tf.matMul(tf.mul(q, scale) as tf.Tensor2D, tf.transpose(k)) as tf.Tensor2D
  if (softcap === undefined) return { p: tf.softmax(tf.add(scores, mask) as tf.Tensor2D), slope: null }
  const bent = tf.tanh(tf.div(scores, softcap))
  const p = tf.softmax(tf.add(tf.mul(bent, softcap), mask) as tf.Tensor2D)
  return { p, slope: tf.sub(1, tf.square(bent)) as tf.Tensor2D }
}

/** The plain TensorFlow.js form: one (batch, key head) group at a time, so at most (h/kv)·t·s scores exist at once. */
export function attentionReference(
  q: tf.Tensor4D,
  k: tf.Tensor4D,
  v: tf.Tensor4D,
  options: AttentionOptions,
): tf.Tensor4D {
  checkAttention(q, k, v, options)
  const kv = k.shape[2]
  return differentiable<tf.Tensor4D>({
    inputs: [q, k, v],
    forward: (save) => {
      save([q, k, v])
      const [ks, vs, mask] = [split(k, kv), split(v, kv), causalMasks(q, k, options)]
      const out = split(q, kv).map((qi, i) =>
        tf.tidy(() => tf.matMul(probabilities(qi, ks[i]!, mask(i), options).p, vs[i]!) as tf.Tensor2D),
      )
      return join(out, q.shape)
    },
    backward: (dy, saved) => {
      const [q, k, v] = saved as [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D]
      const [qs, ks, vs, mask] = [split(q, kv), split(k, kv), split(v, kv), causalMasks(q, k, options)]
      const parts = split(dy, kv).map((dyi, i) =>
        tf.tidy(() => groupGradient(dyi, qs[i]!, ks[i]!, vs[i]!, mask(i), options)),
      )
      const pick = (index: 0 | 1 | 2): tf.Tensor2D[] => parts.map((part) => part[index])
      return [join(pick(0), q.shape), join(pick(1), k.shape), join(pick(2), v.shape)]
    },
  })
}

/** Gradients of q, k and v of one group; the probabilities are computed again. */
function groupGradient(
  dy: tf.Tensor2D,
  q: tf.Tensor2D,
  k: tf.Tensor2D,
  v: tf.Tensor2D,
  mask: tf.Tensor2D,
  options: AttentionOptions,
): [tf.Tensor2D, tf.Tensor2D, tf.Tensor2D] {
  const { p, slope } = probabilities(q, k, mask, options)
  const dV = tf.matMul(tf.transpose(p), dy) as tf.Tensor2D
  const dP = tf.matMul(dy, tf.transpose(v))
  const inner = tf.mul(dP, p)
  const dBent = tf.mul(tf.sub(inner, tf.mul(p, tf.sum(inner, 1, true))), options.scale) as tf.Tensor2D
  const dS = slope ? (tf.mul(dBent, slope) as tf.Tensor2D) : dBent
  return [tf.matMul(dS, k), tf.matMul(tf.transpose(dS), q), dV]
}

/** The wasm form. */
function attentionHeap(q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D, options: AttentionOptions): tf.Tensor4D {
  checkAttention(q, k, v, options)
  return differentiable<tf.Tensor4D>({
    inputs: [q, k, v],
    forward: (save) => {
      save([q, k, v])
      return attentionHeapForward(q, k, v, options)
    },
    backward: (dy, saved) => attentionHeapBackward(dy, saved as [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D], options),
  })
}

/** The webgpu form: keeps the result and one number a query for the backward pass. */
function attentionProgram(q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D, options: AttentionOptions): tf.Tensor4D {
  checkAttention(q, k, v, options)
  return differentiable<tf.Tensor4D>({
    inputs: [q, k, v],
    forward: (save) => {
      const { y, lse } = attentionForward(q, k, v, options)
      save([q, k, v, y, lse])
      return y
    },
    backward: (dy, saved) => {
      const [q, k, v, y] = saved as [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D, tf.Tensor4D]
      return attentionBackward({ q, k, v, y, lse: saved[4] as tf.Tensor3D, dy }, options)
    },
  })
}

/**
 * q `[b, t, h, d]`, k and v `[b, s, kv, d]` with s ≥ past + t and kv a divisor of h → `[b, t, h, d]`.
 * Query head i reads key head floor(i / (h/kv)).
 */
export function attention(q: tf.Tensor4D, k: tf.Tensor4D, v: tf.Tensor4D, options: AttentionOptions): tf.Tensor4D {
  if (onGPU()) return attentionProgram(q, k, v, options)
  return onHeap() ? attentionHeap(q, k, v, options) : attentionReference(q, k, v, options)
}
