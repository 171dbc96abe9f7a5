/**
 * Self-attention as decoders share it: four projections, optional norms of queries and keys, rope, grouped heads, a cache.
 * Refuses non-causal attention.
 */
import { attention, rmsNorm, rope } from '../ops'
import { tf } from '../tf'
import type { Linear } from './linear'
import type { Pass } from './network'
import type { RopeTables } from './rope'

/** Norms of queries and keys: over each head (Qwen3, Gemma 3) or over the whole projection (OLMo 2). */
export interface QueryKeyNorm {
  readonly over: 'head' | 'projection'
  readonly query: tf.Tensor1D
  readonly key: tf.Tensor1D
  readonly epsilon: number
}

export interface SelfAttentionParts {
  readonly layer: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  /** Factor of the scores. */
  readonly scale: number
  /** Null in layers without positions (SmolLM3's every fourth). */
  readonly rope: RopeTables | null
  readonly window?: number
  /** Soft cap of the scores (Gemma 2). */
  readonly cap?: number
  readonly norm: QueryKeyNorm | null
  /** Separate projections, or one that holds queries, keys and values one after the other. */
  readonly project: { query: Linear; key: Linear; value: Linear } | { fused: Linear }
  readonly output: Linear
}

function normalise(x: tf.Tensor2D, weight: tf.Tensor1D, norm: QueryKeyNorm, heads: number): tf.Tensor2D {
  if (norm.over === 'projection') return rmsNorm(x, weight, norm.epsilon)
  const [n, width] = x.shape
  const flat = tf.reshape(x, [n * heads, width / heads]) as tf.Tensor2D
  return tf.reshape(rmsNorm(flat, weight, norm.epsilon), [n, width])
}

function projections(x: tf.Tensor2D, parts: SelfAttentionParts, pass: Pass): [tf.Tensor2D, tf.Tensor2D, tf.Tensor2D] {
  const { project } = parts
  if (!('fused' in project))
    return [project.query.forward(x, pass), project.key.forward(x, pass), project.value.forward(x, pass)]
  const kv = parts.kvHeads * parts.headDim
  return tf.split(project.fused.forward(x, pass), [parts.heads * parts.headDim, kv, kv], 1) as [
    tf.Tensor2D,
    tf.Tensor2D,
    tf.Tensor2D,
  ]
}

/** `[batch · seq, hidden]` → same. Differentiable in `x` and the adapters. */
export function selfAttention(x: tf.Tensor2D, parts: SelfAttentionParts, pass: Pass): tf.Tensor2D {
  const { heads, kvHeads, headDim, norm } = parts
  const [query, key, value] = projections(x, parts, pass)
  const split = (t: tf.Tensor2D, count: number): tf.Tensor4D => tf.reshape(t, [pass.batch, pass.seq, count, headDim])
  let q = split(norm ? normalise(query, norm.query, norm, heads) : query, heads)
  let k = split(norm ? normalise(key, norm.key, norm, kvHeads) : key, kvHeads)
  let v = split(value, kvHeads)
  if (parts.rope) {
    const { cos, sin } = parts.rope.at(pass.past, pass.seq)
    q = rope(q, cos, sin)
    k = rope(k, cos, sin)
  }
  const cache = pass.caches?.[parts.layer]
  if (cache) ({ keys: k, values: v } = cache.write(k, v, pass.past, pass.count ?? pass.seq))
  const mixed = attention(q, k, v, { scale: parts.scale, past: pass.past, ...optional(parts) })
  return parts.output.forward(tf.reshape(mixed, [pass.batch * pass.seq, heads * headDim]), pass)
}

function optional(parts: SelfAttentionParts): { window?: number; softcap?: number } {
  return {
    ...(parts.window === undefined ? {} : { window: parts.window }),
    ...(parts.cap === undefined ? {} : { softcap: parts.cap }),
  }
}
