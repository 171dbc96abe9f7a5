/**
 * Self-attention as decoders share it: projections (apart or in one), optional norms of queries and keys, rope, grouped heads,
 * a cache. Refuses non-causal attention.
 */
import { attention, rmsNorm, rope } from '../ops'
import { tf } from '../tf'
import type { Linear } from './linear'
import { vectorIn, type Pass } from './network'
import type { RopeTables } from './rope'

/** Norms of queries and keys: over each head (Qwen3, Gemma 3) or over the whole projection (OLMo 2). */
interface QueryKeyNorm {
  readonly over: 'head' | 'projection'
  readonly query: tf.Tensor1D
  readonly key: tf.Tensor1D
  readonly epsilon: number
}

/**
 * Three projections; or one whose output holds all queries, then all keys, then all values (`blocks`: Phi-3, GPT-2), or head by
 * head a query, a key and a value (`heads`: GPT-NeoX).
 */
type QueryKeyValue =
  | { readonly query: Linear; readonly key: Linear; readonly value: Linear }
  | { readonly fused: Linear; readonly order: 'blocks' | 'heads' }

export interface SelfAttentionParts {
  readonly layer: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  /** Factor of the scores. */
  readonly scale: number
  /** Null in layers without rotary positions. */
  readonly rope: RopeTables | null
  readonly window?: number
  /** Soft cap of the scores (Gemma 2). */
  readonly cap?: number
  readonly norm?: QueryKeyNorm
  readonly project: QueryKeyValue
  readonly output: Linear
}

/** The linear layers in the order in which they compute. */
export function attentionLinears({ project, output }: SelfAttentionParts): Linear[] {
  return 'fused' in project ? [project.fused, output] : [project.query, project.key, project.value, output]
}

function normalise(x: tf.Tensor4D, weight: tf.Tensor1D, norm: QueryKeyNorm): tf.Tensor4D {
  const width = norm.over === 'head' ? x.shape[3] : x.shape[2] * x.shape[3]
  const flat = tf.reshape(x, [x.size / width, width]) as tf.Tensor2D
  return tf.reshape(rmsNorm(flat, weight, norm.epsilon), x.shape)
}

/** Queries `[b, t, heads, d]`, keys and values `[b, t, kvHeads, d]`. */
function projections(x: tf.Tensor2D, parts: SelfAttentionParts, pass: Pass): [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D] {
  const { project, heads, kvHeads, headDim: d } = parts
  const shaped = (t: tf.Tensor, count: number): tf.Tensor4D => tf.reshape(t, [pass.batch, pass.seq, count, d])
  if (!('fused' in project)) {
    const [q, k, v] = [project.query, project.key, project.value].map((linear) => linear.forward(x, pass))
    return [shaped(q!, heads), shaped(k!, kvHeads), shaped(v!, kvHeads)]
  }
  const all = project.fused.forward(x, pass)
  if (project.order === 'heads') {
    const [q, k, v] = tf.split(shaped(tf.reshape(all, [-1, d]), 3 * heads).reshape([-1, heads, 3 * d]), 3, 2)
    return [shaped(q!, heads), shaped(k!, heads), shaped(v!, heads)]
  }
  const [q, k, v] = tf.split(all, [heads * d, kvHeads * d, kvHeads * d], 1)
  return [shaped(q!, heads), shaped(k!, kvHeads), shaped(v!, kvHeads)]
}

/** `[batch · seq, hidden]` → same, added to `plus` where given. Differentiable in `x`, `plus` and the adapters. */
export function selfAttention(
  x: tf.Tensor2D,
  parts: SelfAttentionParts,
  pass: Pass,
  plus: tf.Tensor2D | null = null,
): tf.Tensor2D {
  const { heads, headDim, norm } = parts
  let [q, k, v] = projections(x, parts, pass)
  if (norm) {
    q = normalise(q, vectorIn(pass, norm.query), norm)
    k = normalise(k, vectorIn(pass, norm.key), norm)
  }
  if (parts.rope) {
    const within = pass.packed?.within ?? pass.here
    const { cos, sin } = within
      ? parts.rope.upTo(pass.packed?.longest ?? pass.past + pass.seq)
      : parts.rope.at(pass.past, pass.seq)
    q = rope(q, cos, sin, within)
    k = rope(k, cos, sin, within)
  }
  if (pass.overlay?.keysValues) [k, v] = pass.overlay.keysValues(parts.layer, k, v, pass)
  const cache = pass.caches?.[parts.layer]
  if (cache) ({ keys: k, values: v } = cache.write(k, v, pass.past, pass.count ?? pass.seq, pass.here))
  const mixed = attention(q, k, v, {
    scale: parts.scale,
    past: pass.past,
    ...(pass.here ? { here: pass.here.device } : {}),
    ...(parts.window === undefined ? {} : { window: parts.window }),
    ...(parts.cap === undefined ? {} : { softcap: parts.cap }),
    ...(pass.packed ? { starts: pass.packed.starts } : {}),
  })
  return parts.output.forward(tf.reshape(mixed, [pass.batch * pass.seq, heads * headDim]), pass, plus)
}
