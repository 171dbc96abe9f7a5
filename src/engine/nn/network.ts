/**
 * What every model is to training and generation: embed, a stack of layers, a last norm, a head.
 * Refuses to know about losses, optimisers and sampling.
 */
import type { FrozenMatrix, LoraPair } from '../ops'
import type { RowNumbers } from '../ops/heap'
import type { tf } from '../tf'
import type { LayerCache } from './cache'
import type { VirtualPositions } from './virtual'

/** A linear layer that can carry an adapter. */
export interface LinearSpec {
  /** Its Hugging Face name: `model.layers.0.self_attn.q_proj`. */
  readonly module: string
  /** The last part of that name: `q_proj`. */
  readonly target: string
  readonly layer: number
  readonly out: number
  readonly in: number
  readonly weight: FrozenMatrix
}

/** Where the rows of a pass hold several examples one after the other; numbers for each of batch · seq positions. */
export interface Packed {
  /** The column at which its example begins. */
  readonly starts: RowNumbers
  /** Its place in its example, by which rotary and learnt positions go. */
  readonly within: RowNumbers
  /** Tokens of the longest example. */
  readonly longest: number
}

/** What a trainable puts into a walk through the layers; a hook that is left out changes nothing. */
export interface Overlay {
  /** The low-rank matrices of a linear layer, by its name, or null. */
  lora?(module: string): LoraPair | null
  /** A head of classes `[classes, hidden]` that is asked instead of the model's own. */
  readonly score?: tf.Tensor2D
  /** The trained matrix or vector in the place of one of the base, or null. */
  matrix?(base: FrozenMatrix): FrozenMatrix | null
  vector?(base: tf.Tensor1D): tf.Tensor1D | null
  /** A head of its own where the base's head is its table; null for what {@link Overlay.matrix} says of that. */
  head?(): FrozenMatrix | null
  /** Changes what a linear layer takes, and what it gives. */
  input?(module: string, x: tf.Tensor2D): tf.Tensor2D
  output?(module: string, y: tf.Tensor2D): tf.Tensor2D
  /** Changes embedded tokens `[batch · seq, hidden]`, before positions are added. */
  embedded?(x: tf.Tensor2D, pass: Pass): tf.Tensor2D
  /** Changes keys and values `[batch, seq, heads, dim]` of a layer's attention, after norm and rope. */
  keysValues?(layer: number, keys: tf.Tensor4D, values: tf.Tensor4D, pass: Pass): [tf.Tensor4D, tf.Tensor4D]
}

/** A matrix of the base as a pass has it: the trained one where there is one. */
export function matrixIn(pass: Pick<Pass, 'overlay'>, base: FrozenMatrix): FrozenMatrix {
  return pass.overlay?.matrix?.(base) ?? base
}

/** A vector of the base as a pass has it. */
export function vectorIn(pass: Pick<Pass, 'overlay'>, base: tf.Tensor1D): tf.Tensor1D {
  return pass.overlay?.vector?.(base) ?? base
}

/** What one walk through the layers carries along. Hidden states are `[batch · seq, hidden]`. */
export interface Pass {
  readonly batch: number
  readonly seq: number
  /** Tokens already in the caches; 0 in training. */
  readonly past: number
  /** How many of the `seq` positions are tokens rather than padding on the right; all where left out. */
  readonly count?: number
  /** What training has added; null for the base model. */
  readonly overlay: Overlay | null
  /** One a layer in generation; null in training. */
  readonly caches: readonly LayerCache[] | null
  /** Left out where every row is one example; only without caches. */
  readonly packed?: Packed | null
  /**
   * Where the one token of a pass stands, `[1]`: what is computed then goes by this instead of `past`, so that the pass can be
   * recorded and replayed for the tokens that follow. On a GPU only, after {@link Network.prepare}.
   */
  readonly here?: RowNumbers
  /** Positions without a token of their own, which the overlay fills. */
  readonly virtual?: VirtualPositions | null
}

/** A tensor of the base on the device, and how it stands in files. */
export interface NetworkWeight {
  readonly name: string
  readonly value: FrozenMatrix | tf.Tensor1D
  /** Files hold the matrix `[in, out]` (GPT-2's Conv1D). */
  readonly transposed?: boolean
  /** What was added to it when it was read (Gemma's norms hold weight − 1). */
  readonly shift?: number
  /** The name of the vector that is its last column (Phi's head). */
  readonly bias?: string
}

/** A model on the device. Forward code only: no method keeps tensors beyond what it returns. */
export interface Network {
  readonly layers: number
  readonly hidden: number
  readonly vocabulary: number
  /** The longest sequence that positions exist for; Infinity where they are computed. */
  readonly positions: number
  /** Linear layers in order of their layer; what an adapter may sit on. */
  readonly linears: readonly LinearSpec[]
  /** Final soft cap of the logits (Gemma 2); undefined for none. */
  readonly logitCap?: number
  /** All that was loaded, by its names in files. */
  readonly weights: readonly NetworkWeight[]
  /** Bytes of weights on the device now. */
  readonly bytes: number
  /**
   * Makes tables of positions for `length` tokens, and as far as `ahead` where those are the same ones. Recorded passes do not do that
   * themselves; what was recorded with former tables is dropped.
   */
  prepare(length: number, ahead: number): void
  /** int32 ids `[batch · seq]` → `[batch · seq, hidden]`. */
  embed(ids: tf.Tensor1D, pass: Pass): tf.Tensor2D
  /** One layer: `[batch · seq, hidden]` → same; differentiable in `x` and in the adapter. */
  layer(index: number, x: tf.Tensor2D, pass: Pass): tf.Tensor2D
  /** The last norm: `[n, hidden]` → what the head takes; differentiable in `x`. */
  finish(x: tf.Tensor2D, pass: Pass): tf.Tensor2D
  /** `[vocabulary, hidden]`; the embedding table itself where the head is tied. */
  head(pass: Pick<Pass, 'overlay'>): FrozenMatrix
  dispose(): void
}
