/**
 * Attention on the wasm backend: heads are copied, masked and transposed straight in its memory, products stay its own.
 * Refuses batched matMul, which that backend runs without its fast kernels.
 */
import { tf } from '../tf'
import type { AttentionOptions } from './attention'
import { heapTensor, views } from './heap'

const HIDDEN = -1e30

/** One (batch, key head) group: where its queries and keys lie. */
interface Group {
  batch: number
  /** First query head, and how many there are. */
  head: number
  heads: number
  kv: number
}

function groupsOf(q: tf.Tensor4D, k: tf.Tensor4D): Group[] {
  const [b, , h] = q.shape
  const kv = k.shape[2]
  const heads = h / kv
  return Array.from({ length: b * kv }, (_, i) => ({
    batch: Math.floor(i / kv),
    head: (i % kv) * heads,
    heads,
    kv: i % kv,
  }))
}

/** Copies `heads` heads of one batch row of `x` [b, length, all, d] to `[heads·length, d]`, or back when `into` is x. */
function copyHeads(x: tf.Tensor4D, matrix: tf.Tensor, batch: number, head: number, heads: number, back: boolean): void {
  const [, length, all, d] = x.shape
  const [wide, narrow] = views(x, matrix) as [Float32Array, Float32Array]
  for (let h = 0; h < heads; h++) {
    for (let i = 0; i < length; i++) {
      const far = ((batch * length + i) * all + head + h) * d
      const near = (h * length + i) * d
      if (back) for (let c = 0; c < d; c++) wide[far + c] = narrow[near + c]!
      else for (let c = 0; c < d; c++) narrow[near + c] = wide[far + c]!
    }
  }
}

function takeHeads(x: tf.Tensor4D, batch: number, head: number, heads: number): tf.Tensor2D {
  const matrix = heapTensor<tf.Rank.R2>([heads * x.shape[1], x.shape[3]])
  copyHeads(x, matrix, batch, head, heads, false)
  return matrix
}

/** One head of keys or values as `[d, length]`. */
function takeTransposed(x: tf.Tensor4D, batch: number, head: number): tf.Tensor2D {
  const [, length, all, d] = x.shape
  const matrix = heapTensor<tf.Rank.R2>([d, length])
  const [from, to] = views(x, matrix) as [Float32Array, Float32Array]
  for (let i = 0; i < length; i++) {
    const at = ((batch * length + i) * all + head) * d
    for (let c = 0; c < d; c++) to[c * length + i] = from[at + c]!
  }
  return matrix
}

/** Scales, bends and masks raw scores `[heads·t, s]` in place; returns the slope of the bend where there is one. */
function finishScores(scores: tf.Tensor2D, t: number, options: AttentionOptions): tf.Tensor2D | null {
  const { scale, past, window = Infinity, softcap } = options
  const [rows, s] = scores.shape
  const slope = softcap === undefined ? null : heapTensor<tf.Rank.R2>([rows, s])
  const z = views(scores)[0]!
  const bent = slope ? views(slope)[0]! : null
  for (let row = 0; row < rows; row++) {
    const last = past + (row % t)
    const first = Math.max(0, last - window + 1)
    const base = row * s
    z.fill(HIDDEN, base, base + first)
    for (let j = first; j <= last; j++) {
      const raw = z[base + j]! * scale
      if (!bent) {
        z[base + j] = raw
        continue
      }
      const turn = Math.tanh(raw / softcap!)
      z[base + j] = softcap! * turn
      bent[base + j] = 1 - turn * turn
    }
    z.fill(HIDDEN, base + last + 1, base + s)
  }
  return slope
}

/** `[b, t, h, d]` result. */
export function attentionHeapForward(
  q: tf.Tensor4D,
  k: tf.Tensor4D,
  v: tf.Tensor4D,
  options: AttentionOptions,
): tf.Tensor4D {
  const y = heapTensor<tf.Rank.R4>(q.shape)
  for (const { batch, head, heads, kv } of groupsOf(q, k)) {
    tf.tidy(() => {
      const scores = tf.matMul(takeHeads(q, batch, head, heads), takeTransposed(k, batch, kv)) as tf.Tensor2D
      finishScores(scores, q.shape[1], options)
      copyHeads(y, tf.matMul(tf.softmax(scores), takeHeads(v, batch, kv, 1)), batch, head, heads, true)
    })
  }
  return y
}

/** Gradients of q, k and v; probabilities are computed again. */
export function attentionHeapBackward(
  dy: tf.Tensor4D,
  [q, k, v]: [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D],
  options: AttentionOptions,
): [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D] {
  const [dq, dk, dv] = [q, k, v].map((x) => heapTensor<tf.Rank.R4>(x.shape)) as [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D]
  for (const { batch, head, heads, kv } of groupsOf(q, k)) {
    tf.tidy(() => {
      const qs = takeHeads(q, batch, head, heads)
      const dys = takeHeads(dy, batch, head, heads)
      const scores = tf.matMul(qs, takeTransposed(k, batch, kv)) as tf.Tensor2D
      const slope = finishScores(scores, q.shape[1], options)
      const p = tf.softmax(scores)
      const dp = tf.matMul(dys, takeTransposed(v, batch, kv)) as tf.Tensor2D
      const { pT, dsT } = scoreGradient(p, dp, slope, options.scale)
      copyHeads(dq, tf.matMul(dp, takeHeads(k, batch, kv, 1)), batch, head, heads, true)
      copyHeads(dk, tf.matMul(dsT, qs), batch, kv, 1, true)
      copyHeads(dv, tf.matMul(pT, dys), batch, kv, 1, true)
    })
  }
  return [dq, dk, dv]
}

/** Turns `dp` into the gradient of the raw scores in place; also gives its and p's transposes. */
function scoreGradient(
  p: tf.Tensor2D,
  dp: tf.Tensor2D,
  slope: tf.Tensor2D | null,
  scale: number,
): { pT: tf.Tensor2D; dsT: tf.Tensor2D } {
  const [rows, s] = p.shape
  const [pT, dsT] = [heapTensor<tf.Rank.R2>([s, rows]), heapTensor<tf.Rank.R2>([s, rows])]
  const [chance, gradient, chanceT, gradientT] = views(p, dp, pT, dsT) as [
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
  ]
  const bent = slope ? views(slope)[0]! : null
  for (let row = 0; row < rows; row++) {
    const base = row * s
    let along = 0
    for (let j = 0; j < s; j++) along += chance[base + j]! * gradient[base + j]!
    for (let j = 0; j < s; j++) {
      const at = base + j
      const share = chance[at]!
      // hidden keys have share 0, and their slope was never written
      const ds = share === 0 ? 0 : share * (gradient[at]! - along) * scale * (bent ? bent[at]! : 1)
      gradient[at] = ds
      gradientT[j * rows + row] = ds
      chanceT[j * rows + row] = share
    }
  }
  return { pT, dsT }
}
