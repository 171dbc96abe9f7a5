/** Typed door to tf.customGrad for the ops of this folder; refuses gradients whose number differs from the inputs'. */
import { tf } from '../tf'

/** What an op needs to live on TensorFlow.js's tape. */
export interface Differentiable<T extends tf.Tensor> {
  /** Inputs that may need a gradient; everything frozen is closed over instead. */
  inputs: tf.Tensor[]
  /** Computes the value. `save` keeps a tensor for `backward`; save only what cannot be recomputed cheaply. */
  forward: (save: (tensors: tf.Tensor[]) => void) => T
  /** Gradients of the inputs, in their order, from the gradient of the value and the saved tensors. */
  backward: (dy: T, saved: tf.Tensor[]) => tf.Tensor[]
}

/** Runs an op whose gradient is written by hand; intermediate tensors of both directions are freed at once. */
export function differentiable<T extends tf.Tensor>(op: Differentiable<T>): T {
  const run = tf.customGrad((...args) => {
    const save = args[args.length - 1] as tf.GradSaveFunc
    const value = tf.tidy(() => op.forward((tensors) => save(tensors)))
    const gradFunc = (dy: tf.Tensor, saved: tf.Tensor[]): tf.Tensor[] => {
      const grads = tf.tidy(() => op.backward(dy as T, saved))
      if (grads.length !== op.inputs.length) throw new Error(`${grads.length} gradients for ${op.inputs.length} inputs`)
      return grads
    }
    return { value, gradFunc }
  })
  return run(...op.inputs) as T
}
