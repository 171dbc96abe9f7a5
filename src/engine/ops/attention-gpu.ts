/**
 * Attention on webgpu without a T×T tensor: tiles of keys pass through workgroup memory under an online softmax
 * (Dao et al. 2022; backward as in FlashAttention 2). Refuses to keep probabilities: backward computes them again from
 * each query's log-sum-exp.
 */
import type { tf } from '../tf'
import { forwardWGSL, keyGradientWGSL, queryGradientWGSL } from './attention-program'
import type { AttentionOptions } from './attention-reach'
import { chooseTile, shapeOf, side, type Shape } from './attention-tile'
import { dispatch, emptyTensor, spread, type Binding, type Program } from './gpu'
import { elementMain } from './reduce'

function uniformsOf({ t, s, h, kv, d, options }: Shape): Pick<Program, 'uniforms' | 'floats'> {
  const { window, scale, softcap } = options
  const past = options.here ? 0 : options.past // what changes must not be in uniforms
  const uniforms = { t, s, h, kv, d, past, window: window ?? 0x7fffffff, scale, softcap: softcap ?? 1 }
  return { uniforms, floats: ['scale', 'softcap'] }
}

/** The bindings that only packed rows and recorded decoding have, and what tells their programs apart. */
function startsOf({ starts, here }: AttentionOptions): { bindings: Record<string, Binding>; key: string } {
  if (starts) return { bindings: { starts: { tensor: starts.device, type: 'i32' } }, key: ' packed' }
  if (here) return { bindings: { here: { tensor: here, type: 'i32' } }, key: ' here' }
  return { bindings: {}, key: '' }
}

/** `[b, t, h, d]` result and `[b, t, h]` log-sum-exp of each query's scores. */
export function attentionForward(
  q: tf.Tensor4D,
  k: tf.Tensor4D,
  v: tf.Tensor4D,
  options: AttentionOptions,
): { y: tf.Tensor4D; lse: tf.Tensor3D } {
  const shape = shapeOf(q, k, options)
  const { batch, t, h, wide } = shape
  const tile = chooseTile(shape, 2, 1)
  const y = emptyTensor<tf.Rank.R4>(q.shape)
  const lse = emptyTensor<tf.Rank.R3>([batch, t, h])
  const starts = startsOf(options)
  dispatch({
    ...uniformsOf(shape),
    key: `attention forward ${tile} ${side()} ${shape.d4} ${options.softcap === undefined}${starts.key}`,
    bindings: {
      y: { tensor: y, type: wide, write: true },
      lse: { tensor: lse, type: 'f32', write: true },
      q: { tensor: q, type: wide },
      k: { tensor: k, type: wide },
      v: { tensor: v, type: wide },
      ...starts.bindings,
    },
    workgroups: [Math.ceil(t / tile), batch * h, 1],
    code: () => forwardWGSL(shape, tile),
  })
  return { y, lse }
}

/** Gradients of q, k and v. */
export function attentionBackward(
  inputs: { q: tf.Tensor4D; k: tf.Tensor4D; v: tf.Tensor4D; y: tf.Tensor4D; lse: tf.Tensor3D; dy: tf.Tensor4D },
  options: AttentionOptions,
): [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D] {
  const { q, k, v, y, lse, dy } = inputs
  const shape = shapeOf(q, k, options)
  const { batch, t, s, h, kv, wide } = shape
  const delta = rowProducts(dy, y, shape)
  const [dq, dk, dv] = [q, k, v].map((tensor) => emptyTensor<tf.Rank.R4>(tensor.shape)) as [
    tf.Tensor4D,
    tf.Tensor4D,
    tf.Tensor4D,
  ]
  const starts = startsOf(options)
  const shared: Record<string, Binding> = {
    q: { tensor: q, type: wide },
    k: { tensor: k, type: wide },
    v: { tensor: v, type: wide },
    dy: { tensor: dy, type: wide },
    lse: { tensor: lse, type: 'f32' },
    delta: { tensor: delta, type: 'f32' },
    ...starts.bindings,
  }
  const key = (name: string, tile: number): string =>
    `attention ${name} ${tile} ${side()} ${shape.d4} ${options.softcap === undefined}${starts.key}`
  const queryTile = chooseTile(shape, 4, 1)
  dispatch({
    ...uniformsOf(shape),
    key: key('dq', queryTile),
    bindings: { dq: { tensor: dq, type: wide, write: true }, ...shared },
    workgroups: [Math.ceil(t / queryTile), batch * h, 1],
    code: () => queryGradientWGSL(shape, queryTile),
  })
  const keyTile = chooseTile(shape, 4, 2)
  dispatch({
    ...uniformsOf(shape),
    key: key('dkv', keyTile),
    bindings: { dk: { tensor: dk, type: wide, write: true }, dv: { tensor: dv, type: wide, write: true }, ...shared },
    workgroups: [Math.ceil(s / keyTile), batch * kv, 1],
    code: () => keyGradientWGSL(shape, keyTile),
  })
  return [dq, dk, dv]
}

/** `[b, t, h]`: the inner product of dy and y a head, which equals the sum over keys of p · dp. */
function rowProducts(dy: tf.Tensor4D, y: tf.Tensor4D, { batch, t, h, d }: Shape): tf.Tensor3D {
  const delta = emptyTensor<tf.Rank.R3>([batch, t, h])
  const size = batch * t * h
  dispatch({
    key: 'attention delta',
    bindings: {
      delta: { tensor: delta, type: 'f32', write: true },
      dy: { tensor: dy, type: 'f32' },
      y: { tensor: y, type: 'f32' },
    },
    uniforms: { size, d },
    workgroups: spread(Math.ceil(size / 64)),
    code: () =>
      elementMain(`var sum = 0.0;
    for (var c = 0u; c < u.d; c++) { sum += dy[i * u.d + c] * y[i * u.d + c]; }
    delta[i] = sum;`),
  })
  return delta
}
