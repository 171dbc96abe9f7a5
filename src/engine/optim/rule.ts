/** How a tensor is moved by its gradient, as every optimiser here but AdamW says it, which moves many at once. Refuses to know which there are. */
import type { tf } from '../tf'

/** What changes from one update to the next; on a GPU scalars that stay where they are, so that updates can be replayed. */
export interface Update {
  readonly learningRate: number | tf.Scalar
  /** Factor on the gradient (1 where it is not clipped). */
  readonly clip: number | tf.Scalar
  /** 1 for the first. */
  readonly step: number | tf.Scalar
}

/** A running tensor that a rule keeps for a variable; zero at first. */
export interface Slot {
  readonly shape: readonly number[]
  /** float32 where left out. */
  readonly dtype?: 'int32'
}

/** How one tensor is moved by its gradient. */
export interface Rule {
  /** Its running tensors for a variable, by name. */
  slots(variable: tf.Variable): Readonly<Record<string, Slot>>
  /** Changes the variable and its slots, which come in the order of their names. The gradient stays the caller's. */
  update(variable: tf.Variable, gradient: tf.Tensor, slots: readonly tf.Variable[], update: Update): void
  /** Frees what it keeps beside them. */
  dispose?(): void
}
