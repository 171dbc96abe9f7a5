/**
 * What the micro-batches of a step add up to, in tensors that stay from step to step, so that a recorded step finds them again.
 * Refuses to judge: whether the sums are finite is the session's to say.
 */
import { sumSquares } from '../ops'
import { flatParts, flatsOf, type FlatPart } from '../ops/flat'
import type { Recorder } from '../ops/replay'
import { store, storeParts, type Stored } from '../ops/store'
import type { NamedVariable } from '../optim/optimiser'
import { tf } from '../tf'
import type { GradientTaker } from './backprop'

/** Sums over one step. */
export class Totals {
  /** In the order of the trained variables. */
  readonly gradients: readonly FlatPart[]
  /** Sum of token losses, sum of squares of all gradients. */
  readonly #sums: tf.Tensor1D

  constructor(variables: readonly NamedVariable[]) {
    this.gradients = flatParts(variables.map(({ variable }) => variable.size))
    this.#sums = tf.keep(tf.tidy(() => tf.fill([2], 0)))
  }

  /** Takes the parts of one micro-batch; the first of a step begins anew. */
  taker(first: boolean): GradientTaker {
    const taken = new Set<number>()
    return (indices, gradients) => {
      const stored = indices.map((index, n): Stored => {
        const add = !first || taken.has(index)
        taken.add(index)
        return { target: this.gradients[index] as FlatPart, source: gradients[n] as tf.Tensor, add }
      })
      storeParts(stored)
      tf.dispose([...gradients])
    }
  }

  /** Adds the loss of one micro-batch, which it disposes. */
  addLoss(lossSum: tf.Scalar, first: boolean): void {
    store(this.#sums, lossSum, { add: !first })
    lossSum.dispose()
  }

  /** Sum of token losses, and norm of all gradients together. Forces a sync with the device. */
  async read(recorder: Recorder): Promise<{ lossSum: number; norm: number }> {
    recorder.run('norm', () => {
      const squares = sumSquares(flatsOf(this.gradients))
      store(this.#sums, squares, { at: 1 })
      squares.dispose()
    })
    const [lossSum = Number.NaN, squares = Number.NaN] = (await this.#sums.data()) as Float32Array
    return { lossSum, norm: Math.sqrt(squares) }
  }

  dispose(): void {
    tf.dispose([...flatsOf(this.gradients), this.#sums])
  }
}
