/**
 * The decoder that most families are: embed, layers of attention and gated feed-forward with RMSNorms, last norm, head.
 * A family brings its own `layer` where its norms stand elsewhere. Refuses to read configs and weights.
 */
import type { FrozenMatrix } from '../ops'
import { embed, rmsNorm } from '../ops'
import { tf } from '../tf'
import type { SelfAttentionParts } from './attention'
import { selfAttention } from './attention'
import type { Linear } from './linear'
import type { GatedMlpParts } from './mlp'
import { gatedMlp } from './mlp'
import type { LinearSpec, Network, Pass } from './network'
import type { RopeTables } from './rope'

export interface DecoderLayer {
  readonly attention: SelfAttentionParts
  readonly mlp: GatedMlpParts
  /** Norm weights of the layer by a name that its forward knows. */
  readonly norms: Readonly<Record<string, tf.Tensor1D>>
}

export interface DecoderParts {
  readonly hidden: number
  readonly epsilon: number
  readonly embedding: FrozenMatrix
  /** The same object as `embedding` where the head is tied. */
  readonly head: FrozenMatrix
  readonly finalNorm: tf.Tensor1D
  readonly layers: readonly DecoderLayer[]
  /** Every rope table in use. */
  readonly ropes: readonly RopeTables[]
  /** Factor of the embedded tokens (Gemma, Granite). */
  readonly embeddingScale?: number
  /** Factor of what the head takes (Granite). */
  readonly headScale?: number
  readonly logitCap?: number
  /** Layer forward; {@link preNormLayer} where left out. */
  readonly forward?: (layer: DecoderLayer, x: tf.Tensor2D, pass: Pass, epsilon: number) => tf.Tensor2D
}

/** Norm `input`, attention, add; norm `post`, feed-forward, add: Llama, Mistral, Qwen. */
export function preNormLayer(layer: DecoderLayer, x: tf.Tensor2D, pass: Pass, epsilon: number): tf.Tensor2D {
  const { input, post } = layer.norms as { input: tf.Tensor1D; post: tf.Tensor1D }
  const middle = tf.add(x, selfAttention(rmsNorm(x, input, epsilon), layer.attention, pass)) as tf.Tensor2D
  return tf.add(middle, gatedMlp(rmsNorm(middle, post, epsilon), layer.mlp, pass))
}

function linearsOf({ attention, mlp }: DecoderLayer): Linear[] {
  const { project } = attention
  const first = 'fused' in project ? [project.fused] : [project.query, project.key, project.value]
  const second = 'fused' in mlp.project ? [mlp.project.fused] : [mlp.project.gate, mlp.project.up]
  return [...first, attention.output, ...second, mlp.down]
}

/** A {@link Network} over parts that it then owns. */
export class Decoder implements Network {
  readonly layers: number
  readonly hidden: number
  readonly vocabulary: number
  readonly positions = Number.POSITIVE_INFINITY
  readonly linears: readonly LinearSpec[]
  readonly head: FrozenMatrix
  readonly logitCap?: number
  readonly #parts: DecoderParts
  readonly #linears: readonly Linear[]

  constructor(parts: DecoderParts) {
    this.#parts = parts
    this.layers = parts.layers.length
    this.hidden = parts.hidden
    this.vocabulary = parts.head.out
    this.#linears = parts.layers.flatMap(linearsOf)
    this.linears = this.#linears
    this.head = parts.head
    if (parts.logitCap !== undefined) this.logitCap = parts.logitCap
  }

  get bytes(): number {
    const { embedding, head, ropes, finalNorm, layers } = this.#parts
    const matrices = this.#linears.reduce((sum, l) => sum + l.weight.bytes + 4 * (l.bias?.size ?? 0), 0)
    const norms = layers.flatMap((layer) => Object.values(layer.norms)).reduce((sum, t) => sum + 4 * t.size, 0)
    const tables = ropes.reduce((sum, rope) => sum + rope.bytes, 0)
    return matrices + norms + tables + 4 * finalNorm.size + embedding.bytes + (head === embedding ? 0 : head.bytes)
  }

  embed(ids: tf.Tensor1D): tf.Tensor2D {
    const x = embed(ids, this.#parts.embedding)
    return this.#parts.embeddingScale === undefined ? x : tf.mul(x, this.#parts.embeddingScale)
  }

  layer(index: number, x: tf.Tensor2D, pass: Pass): tf.Tensor2D {
    const layer = this.#parts.layers[index]
    if (!layer) throw new Error(`layer ${index} of ${this.layers}`)
    return (this.#parts.forward ?? preNormLayer)(layer, x, pass, this.#parts.epsilon)
  }

  finish(x: tf.Tensor2D): tf.Tensor2D {
    const y = rmsNorm(x, this.#parts.finalNorm, this.#parts.epsilon)
    return this.#parts.headScale === undefined ? y : tf.mul(y, this.#parts.headScale)
  }

  dispose(): void {
    const { embedding, head, ropes, finalNorm, layers } = this.#parts
    for (const linear of this.#linears) linear.dispose()
    for (const layer of layers) {
      for (const norm of Object.values(layer.norms)) norm.dispose()
      layer.attention.norm?.query.dispose()
      layer.attention.norm?.key.dispose()
    }
    for (const rope of ropes) rope.dispose()
    finalNorm.dispose()
    embedding.dispose()
    if (head !== embedding) head.dispose()
  }
}
