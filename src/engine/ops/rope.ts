/**
 * Rotary position embedding in transformers' rotate-half convention (Su et al. 2021).
 * Refuses to know about scaling: the caller brings the tables.
 */
import { tf } from '../tf'
import { dispatch, emptyTensor, onGPU, spread } from './gpu'
import { differentiable } from './gradient'
import { heapTensor, onHeap, views, type RowNumbers } from './heap'
import { elementMain } from './reduce'

function rotate(
  x: tf.Tensor4D,
  cos: tf.Tensor2D,
  sin: tf.Tensor2D,
  direction: 1 | -1,
  within?: RowNumbers,
): tf.Tensor4D {
  const [batch, time, heads, d] = x.shape
  const half = cos.shape[1]
  const table = (all: tf.Tensor2D): tf.Tensor =>
    tf.reshape(within ? tf.gather(all, within.device) : all, [within ? batch : 1, time, 1, half])
  const [c, s] = [table(cos), table(sin)]
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
export function ropeReference(x: tf.Tensor4D, cos: tf.Tensor2D, sin: tf.Tensor2D, within?: RowNumbers): tf.Tensor4D {
  return differentiable<tf.Tensor4D>({
    inputs: [x],
    forward: () => rotate(x, cos, sin, 1, within),
    backward: (dy) => [rotate(dy, cos, sin, -1, within)],
  })
}

/**
 * Rotates pairs (i, i + rot/2) of each head's first `rot` channels by the angle whose cosine and sine stand in row t of the
 * tables; channels from `rot` on pass through. x `[b, t, heads, d]`, cos and sin `[t or more, rot/2]`, rot ≤ d.
 * @param within for rows that hold several examples, `[b · t]`: the row of the tables for each position; they may then have any
 * number of rows.
 */
export function rope(x: tf.Tensor4D, cos: tf.Tensor2D, sin: tf.Tensor2D, within?: RowNumbers): tf.Tensor4D {
  if (onGPU()) return ropeProgram(x, cos, sin, within)
  return onHeap() ? ropeHeap(x, cos, sin, within) : ropeReference(x, cos, sin, within)
}

/** The wasm form: one pass over memory. */
function ropeHeap(x: tf.Tensor4D, cos: tf.Tensor2D, sin: tf.Tensor2D, within?: RowNumbers): tf.Tensor4D {
  const [, time, heads, d] = x.shape
  const half = cos.shape[1]
  const run = (input: tf.Tensor4D, sign: number): tf.Tensor4D => {
    const output = heapTensor<tf.Rank.R4>(x.shape)
    const [from, to, c, s] = views(input, output, cos, sin) as [Float32Array, Float32Array, Float32Array, Float32Array]
    for (let head = 0; head < from.length / d; head++) {
      const position = Math.floor(head / heads)
      const turn = (within ? within.host[position]! : position % time) * half
      const base = head * d
      for (let i = 0; i < half; i++) {
        const [first, second] = [from[base + i]!, from[base + half + i]!]
        const [cosine, sine] = [c[turn + i]!, s[turn + i]! * sign]
        to[base + i] = first * cosine - second * sine
        to[base + half + i] = second * cosine + first * sine
      }
      for (let i = 2 * half; i < d; i++) to[base + i] = from[base + i]!
    }
    return output
  }
  return differentiable<tf.Tensor4D>({ inputs: [x], forward: () => run(x, 1), backward: (dy) => [run(dy, -1)] })
}

/** The webgpu form: one thread a pair or a channel that passes through. */
function ropeProgram(x: tf.Tensor4D, cos: tf.Tensor2D, sin: tf.Tensor2D, within?: RowNumbers): tf.Tensor4D {
  const [batch, time, heads, d] = x.shape
  const half = cos.shape[1]
  const perHead = d - half
  const run = (input: tf.Tensor4D, sign: number): tf.Tensor4D => {
    const y = emptyTensor<tf.Rank.R4>(x.shape)
    const size = batch * time * heads * perHead
    dispatch({
      key: within ? 'rope packed' : 'rope',
      bindings: {
        y: { tensor: y, type: 'f32', write: true },
        x: { tensor: input, type: 'f32' },
        cosines: { tensor: cos, type: 'f32' },
        sines: { tensor: sin, type: 'f32' },
        ...(within ? { within: { tensor: within.device, type: 'i32' } } : {}),
      },
      uniforms: { size, per_head: perHead, d, heads, time, pairs: half, sign },
      floats: ['sign'],
      workgroups: spread(Math.ceil(size / 64)),
      code: () =>
        elementMain(`let c = i % u.per_head;
    let head = i / u.per_head;
    let base = head * u.d;
    if (c < u.pairs) {
      let at = ${within ? 'u32(within[head / u.heads])' : '(head / u.heads) % u.time'} * u.pairs + c;
      let turn = vec2<f32>(cosines[at], sines[at] * u.sign);
      let pair = vec2<f32>(x[base + c], x[base + c + u.pairs]);
      y[base + c] = pair.x * turn.x - pair.y * turn.y;
      y[base + c + u.pairs] = pair.y * turn.x + pair.x * turn.y;
    } else {
      y[base + c + u.pairs] = x[base + c + u.pairs];
    }`),
    })
    return y
  }
  return differentiable<tf.Tensor4D>({ inputs: [x], forward: () => run(x, 1), backward: (dy) => [run(dy, -1)] })
}
