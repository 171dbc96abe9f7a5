/** Decoupled weight decay; refuses the kind that goes through the gradient. */
import { tf } from '../tf'

/** p·(1 − lr·decay), the rate being a number or a scalar on the device. */
export function decayed(variable: tf.Variable, learningRate: number | tf.Scalar, weightDecay: number): tf.Tensor {
  const kept =
    typeof learningRate === 'number' ? 1 - learningRate * weightDecay : tf.sub(1, tf.mul(learningRate, weightDecay))
  return tf.mul(variable, kept)
}
