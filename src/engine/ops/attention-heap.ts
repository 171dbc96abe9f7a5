/**
 * Attention on the wasm backend, group by group over windows of memory that nothing copies; products and softmax stay its own.
 * Refuses batched matMul, which that backend runs without its fast kernels.
 */
import { tf } from '../tf'
import { reach, type AttentionOptions } from './attention-reach'
import { free, heapTensor, multiplyWindows, runKernel, views, type Window } from './heap'

const HIDDEN = -1e30

/** Sizes of one (batch, key head) group, and how many groups there are. */
interface Sizes {
  groups: number
  /** Query rows of a group: its heads one below the other. */
  rows: number
  kv: number
  t: number
  s: number
  d: number
}

function sizesOf(q: tf.Tensor4D, k: tf.Tensor4D): Sizes {
  const [b, t, h, d] = q.shape
  const [, s, kv] = k.shape
  return { groups: b * kv, rows: (h / kv) * t, kv, t, s, d }
}

/** `[b, length, heads, d]` with each head's rows together, so that a group is one window. */
function byHead(x: tf.Tensor4D): tf.Tensor4D {
  return tf.transpose(x, [0, 2, 1, 3])
}

/** The same with every head as `[d, length]`. */
function byHeadTransposed(x: tf.Tensor4D): tf.Tensor4D {
  return tf.transpose(x, [0, 2, 3, 1])
}

function group(tensor: tf.TensorInfo, index: number, rows: number, columns: number): Window {
  return { tensor, offset: index * rows * columns, rows, columns }
}

function whole(tensor: tf.TensorInfo): Window {
  const [rows, columns] = tensor.shape as [number, number]
  return { tensor, offset: 0, rows, columns }
}

/** Writes a product into group `index` of `into` and frees it. */
function keep(product: tf.TensorInfo, into: tf.Tensor, index: number): void {
  const [from, to] = views(product, into) as [Float32Array, Float32Array]
  to.set(from, index * from.length)
  free(product)
}

/** Bends and masks scores `[rows, s]` of a group in place; returns the slope of the bend where there is one. */
function finishScores(
  scores: tf.TensorInfo,
  index: number,
  { rows, kv, t, s }: Sizes,
  options: AttentionOptions,
): Float32Array | null {
  const b = Math.floor(index / kv)
  const z = views(scores)[0]!
  const { softcap } = options
  const slope = softcap === undefined ? null : new Float32Array(rows * s)
  for (let row = 0; row < rows; row++) {
    const [first, last] = reach(b, row % t, t, options)
    const base = row * s
    if (first > 0) z.fill(HIDDEN, base, base + first)
    if (last + 1 < s) z.fill(HIDDEN, base + last + 1, base + s)
    if (!slope) continue
    for (let at = base + first; at <= base + last; at++) {
      const turn = Math.tanh(z[at]! / softcap!)
      z[at] = softcap! * turn
      slope[at] = 1 - turn * turn
    }
  }
  return slope
}

/** Probabilities of one group (to be freed), and the slope of their softcap. */
function probabilities(
  q: tf.Tensor,
  kT: tf.Tensor,
  index: number,
  sizes: Sizes,
  options: AttentionOptions,
): { p: tf.TensorInfo; slope: Float32Array | null } {
  const scores = multiplyWindows(group(q, index, sizes.rows, sizes.d), group(kT, index, sizes.d, sizes.s))
  const slope = finishScores(scores, index, sizes, options)
  const p = runKernel('Softmax', { logits: scores }, { dim: 1 })
  free(scores)
  return { p, slope }
}

/** `[b, t, h, d]` result. */
export function attentionHeapForward(
  q: tf.Tensor4D,
  k: tf.Tensor4D,
  v: tf.Tensor4D,
  options: AttentionOptions,
): tf.Tensor4D {
  const sizes = sizesOf(q, k)
  const [qs, kT, vs] = [byHead(tf.mul(q, options.scale)), byHeadTransposed(k), byHead(v)]
  const y = heapTensor<tf.Rank.R4>(qs.shape)
  for (let i = 0; i < sizes.groups; i++) {
    const { p } = probabilities(qs, kT, i, sizes, options)
    keep(multiplyWindows(whole(p), group(vs, i, sizes.s, sizes.d)), y, i)
    free(p)
  }
  return byHead(y)
}

/** Gradients of q, k and v; probabilities are computed again. */
export function attentionHeapBackward(
  dy: tf.Tensor4D,
  [q, k, v]: [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D],
  options: AttentionOptions,
): [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D] {
  const sizes = sizesOf(q, k)
  const { rows, s, d } = sizes
  const [qs, ks, kT, vT, dys] = [
    byHead(tf.mul(q, options.scale)),
    byHead(k),
    byHeadTransposed(k),
    byHeadTransposed(v),
    byHead(dy),
  ]
  const [dq, dk, dv] = [heapTensor<tf.Rank.R4>(qs.shape), heapTensor<tf.Rank.R4>(ks.shape), heapTensor<tf.Rank.R4>(ks.shape)] // prettier-ignore
  const [pT, dsT] = [heapTensor<tf.Rank.R2>([s, rows]), heapTensor<tf.Rank.R2>([s, rows])]
  for (let i = 0; i < sizes.groups; i++) {
    const { p, slope } = probabilities(qs, kT, i, sizes, options)
    const ds = multiplyWindows(group(dys, i, rows, d), group(vT, i, d, s))
    scoreGradient({ p, ds, pT, dsT }, slope, i, sizes, options)
    keep(multiplyWindows(whole(ds), group(ks, i, s, d)), dq, i)
    keep(multiplyWindows(whole(dsT), group(qs, i, rows, d)), dk, i)
    keep(multiplyWindows(whole(pT), group(dys, i, rows, d)), dv, i)
    free(p, ds)
  }
  // the queries were scaled already, their gradient was not
  return [byHead(tf.mul(dq, options.scale)), byHead(dk), byHead(dv)]
}

/** Turns the probabilities' gradient `ds` into that of the scores, in place; fills both transposes. */
function scoreGradient(
  tensors: { p: tf.TensorInfo; ds: tf.TensorInfo; pT: tf.Tensor2D; dsT: tf.Tensor2D },
  slope: Float32Array | null,
  index: number,
  { rows, kv, t, s }: Sizes,
  options: AttentionOptions,
): void {
  const b = Math.floor(index / kv)
  const [p, ds] = views(tensors.p, tensors.ds) as [Float32Array, Float32Array]
  const [pT, dsT] = views(tensors.pT, tensors.dsT) as [Float32Array, Float32Array]
  pT.fill(0)
  dsT.fill(0)
  for (let row = 0; row < rows; row++) {
    const [first, last] = reach(b, row % t, t, options)
    const base = row * s
    let along = 0
    for (let at = base + first; at <= base + last; at++) along += p[at]! * ds[at]!
    for (let j = first; j <= last; j++) {
      const at = base + j
      const gradient = p[at]! * (ds[at]! - along) * (slope ? slope[at]! : 1)
      ds[at] = gradient
      dsT[j * rows + row] = gradient
      pT[j * rows + row] = p[at]!
    }
    ds.fill(0, base, base + first)
    ds.fill(0, base + last + 1, base + s)
  }
}
