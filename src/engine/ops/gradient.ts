/** Typed door to tf.customGrad for the ops of this folder; refuses gradients whose number differs from the inputs'. */
import { tf } from '../tf'

/** What an op needs to live on TensorFlow.js's tape. */
export interface Differentiable<T extends tf.Tensor> {
  /** Inputs that may need a gradient; everything frozen is closed over instead. */
  inputs: tf.Tensor[]
  /** Computes the value. `save` keeps a tensor for `backward`; save only what cannot be recomputed cheaply. */
  forward: (save: (tensors: tf.Tensor[]) => void) => T
  /**
   * Gradients of the inputs, in their order, from the gradient of the value and the saved tensors. Those that nobody asks for may be null.
   */
  backward: (dy: T, saved: tf.Tensor[], asked: Asked) => (tf.Tensor | null)[]
}

/** What is asked of a gradient, by the position of its input. */
export interface Asked {
  wants(input: number): boolean
  /** What the input's gradient has come to from elsewhere, to be added to it; null for nothing. Who takes it must add it. */
  plus(input: number): tf.Tensor | null
}

/** The same by tensor, from whoever walks the tape; TensorFlow.js's own walk asks for everything and adds by itself. */
export interface Walk {
  wants(input: tf.Tensor): boolean
  plus(input: tf.Tensor): tf.Tensor | null
}

const anything: Walk = { wants: () => true, plus: () => null }
let walk = anything

/** Runs one node's gradient for a walk that says what it asks for. */
export function walking<T>(by: Walk, node: () => T): T {
  walk = by
  try {
    return node()
  } finally {
    walk = anything
  }
}

/** Runs an op whose gradient is written by hand; intermediate tensors of both directions are freed at once. */
export function differentiable<T extends tf.Tensor>(op: Differentiable<T>): T {
  const run = tf.customGrad((...args) => {
    const save = args[args.length - 1] as tf.GradSaveFunc
    const value = tf.tidy(() => op.forward((tensors) => save(tensors)))
    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]): tf.Tensor[] => {
      const { wants, plus } = walk
      const asked: Asked = { wants: (i) => wants(op.inputs[i]!), plus: (i) => plus(op.inputs[i]!) }
      // TensorFlow.js wants a tensor for every input; one that nobody asks for is never looked at.
      const grads = tf.tidy(() => op.backward(dy as T, saved, asked).map((grad) => grad ?? dy))
      if (grads.length !== op.inputs.length) throw new Error(`${grads.length} gradients for ${op.inputs.length} inputs`)
      return grads
    }
    return { value, gradFunc }
  })
  return run(...op.inputs) as T
}
