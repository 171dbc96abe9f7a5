/**
 * What gradients of whole weights need besides products: sums over rows, and rows added where ids say. Refuses atomics: sums come in one
 * order, so that a step gives the same bits again.
 */
import { tf } from '../tf'
import { dispatch, emptyTensor, onGPU, spread } from './gpu'
import { heapTensor, onHeap, views } from './heap'
import { elementMain } from './reduce'

const follows = new WeakSet<tf.Tensor>()

/** Marks a tensor that was computed from a trained variable, so that ops give it a gradient; the tape leads it to the variable. */
export function followsTrained<T extends tf.Tensor>(tensor: T): T {
  follows.add(tensor)
  return tensor
}

/** Whether the gradient of a vector is asked for. */
export function isTrained(vector: tf.Tensor1D | null): vector is tf.Tensor1D {
  return vector instanceof tf.Variable || (vector !== null && follows.has(vector))
}

/** `[n, d]` → `[d]`: the sum over rows. */
export function columnSums(x: tf.Tensor2D): tf.Tensor1D {
  if (!onGPU()) return tf.sum(x, 0) as tf.Tensor1D
  const [n, d] = x.shape
  // In two rounds, so that many threads work: stretches of rows first, then their sums.
  const stretch = Math.ceil(Math.sqrt(n))
  const parts = stretches(x, stretch)
  const sums = parts.shape[0] === 1 ? parts : stretches(parts, parts.shape[0])
  if (sums !== parts) parts.dispose()
  return tf.reshape(sums, [d])
}

/** Sums of every `length` rows: `[n, d]` → `[n / length, d]`. */
function stretches(x: tf.Tensor2D, length: number): tf.Tensor2D {
  const [rows, d] = x.shape
  const count = Math.ceil(rows / length)
  const y = emptyTensor<tf.Rank.R2>([count, d])
  dispatch({
    key: 'row sums',
    bindings: { y: { tensor: y, type: 'f32', write: true }, x: { tensor: x, type: 'f32' } },
    uniforms: { size: count * d, d, rows, stretch: length },
    workgroups: spread(Math.ceil((count * d) / 64)),
    code: () =>
      elementMain(`let first = (i / u.d) * u.stretch;
    var sum = 0.0;
    for (var r = first; r < min(first + u.stretch, u.rows); r++) { sum += x[r * u.d + i % u.d]; }
    y[i] = sum;`),
  })
  return y
}

/**
 * A `[rows, d]` tensor of zeros to which row i of `values` `[n, d]` is added at row `ids[i]`; ids below 0 are left out.
 * One thread a column goes through all ids.
 */
export function scatterRows(ids: tf.Tensor1D, values: tf.Tensor2D, rows: number): tf.Tensor2D {
  const [n, d] = values.shape
  if (onHeap()) {
    const y = heapTensor<tf.Rank.R2>([rows, d])
    const [at, from, to] = views(ids, values, y) as [Float32Array, Float32Array, Float32Array]
    to.fill(0)
    for (let i = 0; i < n; i++) {
      if (at[i]! < 0) continue
      const base = at[i]! * d
      for (let c = 0; c < d; c++) to[base + c]! += from[i * d + c]!
    }
    return y
  }
  if (!onGPU()) return tf.unsortedSegmentSum(values, ids, rows)
  const y = tf.fill([rows, d], 0) as tf.Tensor2D
  dispatch({
    key: 'scatter rows',
    bindings: {
      y: { tensor: y, type: 'f32', write: true },
      values: { tensor: values, type: 'f32' },
      ids: { tensor: ids, type: 'i32' },
    },
    uniforms: { size: d, n },
    workgroups: spread(Math.ceil(d / 64)),
    code: () =>
      elementMain(`for (var r = 0u; r < u.n; r++) {
      let id = ids[r];
      if (id >= 0) { y[u32(id) * u.size + i] += values[r * u.size + i]; }
    }`),
  })
  return y
}
