/**
 * A network from the parts that a family builds: an embedding, layers, a finish, a head. Refuses to own weights by name: whoever
 * made them says how to free them.
 */
import type { FrozenMatrix } from '../ops'
import type { tf } from '../tf'
import type { Linear } from './linear'
import { matrixIn, type LinearSpec, type Network, type NetworkWeight, type Pass } from './network'

/** One layer: its forward and the linear layers in it, in the order in which they compute. */
export interface StackLayer {
  readonly linears: readonly Linear[]
  /** `[batch · seq, hidden]` → same. */
  forward(x: tf.Tensor2D, pass: Pass): tf.Tensor2D
}

/** What a family builds. */
export interface StackParts {
  readonly hidden: number
  readonly head: FrozenMatrix
  readonly layers: readonly StackLayer[]
  embed(ids: tf.Tensor1D, pass: Pass): tf.Tensor2D
  finish(x: tf.Tensor2D, pass: Pass): tf.Tensor2D
  /** Where positions are learnt: how many there are. */
  readonly positions?: number
  readonly logitCap?: number
}

/** What the network holds on the device. */
export interface Holdings {
  readonly bytes: number
  /** See {@link Network.prepare}. */
  prepare(length: number, ahead: number): void
  readonly weights: readonly NetworkWeight[]
  dispose(): void
}

/** A {@link Network} over parts. */
export class Stack implements Network {
  readonly layers: number
  readonly hidden: number
  readonly vocabulary: number
  readonly positions: number
  readonly linears: readonly LinearSpec[]
  readonly logitCap?: number
  readonly #parts: StackParts
  readonly #holdings: Holdings

  constructor(parts: StackParts, holdings: Holdings) {
    this.#parts = parts
    this.#holdings = holdings
    this.layers = parts.layers.length
    this.hidden = parts.hidden
    this.vocabulary = parts.head.out
    this.positions = parts.positions ?? Number.POSITIVE_INFINITY
    this.linears = parts.layers.flatMap((layer) => layer.linears)
    if (parts.logitCap !== undefined) this.logitCap = parts.logitCap
  }

  get weights(): readonly NetworkWeight[] {
    return this.#holdings.weights
  }

  get bytes(): number {
    return this.#holdings.bytes
  }

  prepare(length: number, ahead: number): void {
    this.#holdings.prepare(length, ahead)
  }

  embed(ids: tf.Tensor1D, pass: Pass): tf.Tensor2D {
    return this.#parts.embed(ids, pass)
  }

  layer(index: number, x: tf.Tensor2D, pass: Pass): tf.Tensor2D {
    const layer = this.#parts.layers[index]
    if (!layer) throw new Error(`layer ${index} of ${this.layers}`)
    return layer.forward(x, pass)
  }

  finish(x: tf.Tensor2D, pass: Pass): tf.Tensor2D {
    return this.#parts.finish(x, pass)
  }

  head(pass: Pick<Pass, 'overlay'>): FrozenMatrix {
    return pass.overlay?.head?.() ?? matrixIn(pass, this.#parts.head)
  }

  dispose(): void {
    this.#holdings.dispose()
  }
}
