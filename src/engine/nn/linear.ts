/** A linear layer that looks up in the pass what training has added to it, or put in its place. Refuses to own it. */
import type { FrozenMatrix, LoraPair } from '../ops'
import { doraLinear, linear } from '../ops'
import { tf } from '../tf'
import { matrixIn, vectorIn, type LinearSpec, type Pass } from './network'

export class Linear implements LinearSpec {
  readonly module: string
  readonly target: string
  readonly layer: number
  readonly weight: FrozenMatrix
  readonly bias: tf.Tensor1D | null

  constructor(module: string, layer: number, weight: FrozenMatrix, bias: tf.Tensor1D | null) {
    this.module = module
    this.target = module.slice(module.lastIndexOf('.') + 1)
    this.layer = layer
    this.weight = weight
    this.bias = bias
  }

  get out(): number {
    return this.weight.out
  }

  get in(): number {
    return this.weight.in
  }

  /** `[n, in]` → `[n, out]`, with what the pass has to change in this layer; added to `plus` where given. */
  forward(x: tf.Tensor2D, pass: Pass, plus: tf.Tensor2D | null = null): tf.Tensor2D {
    const { overlay } = pass
    const input = overlay?.input?.(this.module, x) ?? x
    const pair = overlay?.lora?.(this.module) ?? null
    if (!pair?.lengths && !overlay?.output) return this.#apply(input, pair, pass, plus)
    const own = pair?.lengths
      ? doraLinear(input, this.weight, this.bias, pair, pair.lengths.m, pair.lengths.strength)
      : this.#apply(input, pair, pass, null)
    const y = overlay?.output?.(this.module, own) ?? own
    return plus ? tf.add(plus, y) : y
  }

  #apply(x: tf.Tensor2D, pair: LoraPair | null, pass: Pass, plus: tf.Tensor2D | null): tf.Tensor2D {
    return linear(x, matrixIn(pass, this.weight), this.bias && vectorIn(pass, this.bias), pair, plus)
  }
}
