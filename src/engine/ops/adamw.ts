/**
 * AdamW as PyTorch computes it, and the sum of squares that clipping needs.
 * Refuses to own state: the caller keeps parameter and moments as variables, which are updated in place.
 */
import { tf } from '../tf'

/** Everything an update depends on. What changes between steps may be a scalar on the device, so that a recorded step can be replayed. */
export interface AdamHyper {
  learningRate: number | tf.Scalar
  beta1: number
  beta2: number
  /** Added to the root, outside it. */
  epsilon: number
  /** Decoupled: the parameter shrinks by learningRate · weightDecay. */
  weightDecay: number
  /** 1 for the first update. */
  step: number | tf.Scalar
  /** Factor on the gradient (1 where it is not clipped). */
  clip: number | tf.Scalar
}

function assign(variable: tf.Variable, value: tf.Tensor): void {
  variable.assign(value)
  value.dispose()
}

/** 1 − betaᵗ; on the device through expm1, because 1 − 0.999 loses four digits in f32. */
function biasCorrection(beta: number, step: number | tf.Scalar): number | tf.Tensor {
  if (typeof step === 'number') return 1 - beta ** step
  return tf.neg(tf.expm1(tf.mul(step, Math.log(beta))))
}

/** The plain TensorFlow.js form of {@link adamwUpdate}. */
export function adamwUpdateReference(
  param: tf.Variable,
  grad: tf.Tensor,
  m: tf.Variable,
  v: tf.Variable,
  h: AdamHyper,
): void {
  const [nextM, nextV, next] = tf.tidy(() => {
    const g = tf.mul(grad, h.clip)
    const nextM = tf.add(tf.mul(m, h.beta1), tf.mul(g, 1 - h.beta1))
    const nextV = tf.add(tf.mul(v, h.beta2), tf.mul(tf.square(g), 1 - h.beta2))
    const correction1 = biasCorrection(h.beta1, h.step)
    const correction2 = biasCorrection(h.beta2, h.step)
    const root = tf.add(tf.sqrt(tf.div(nextV, correction2)), h.epsilon)
    const shrunk = tf.mul(param, tf.sub(1, tf.mul(h.learningRate, h.weightDecay)))
    const next = tf.sub(shrunk, tf.mul(tf.div(nextM, root), tf.div(h.learningRate, correction1)))
    return [nextM, nextV, next] as const
  })
  assign(m, nextM)
  assign(v, nextV)
  assign(param, next)
}

/**
 * One AdamW update of `param` and its moments, all of the gradient's shape:
 * g ← clip·grad; m ← β1·m + (1−β1)·g; v ← β2·v + (1−β2)·g²;
 * p ← p·(1 − lr·decay) − lr·(m/(1−β1ᵗ)) / (sqrt(v/(1−β2ᵗ)) + eps). Source: torch.optim.AdamW.
 */
export function adamwUpdate(param: tf.Variable, grad: tf.Tensor, m: tf.Variable, v: tf.Variable, h: AdamHyper): void {
  adamwUpdateReference(param, grad, m, v, h)
}

/** The plain TensorFlow.js form of {@link sumSquares}. */
export function sumSquaresReference(grads: tf.Tensor[]): tf.Scalar {
  // row sums first: one long f32 sum loses digits
  return tf.tidy(() => tf.sum(tf.stack(grads.map((grad) => tf.sum(tf.sum(tf.square(grad), -1))))) as tf.Scalar)
}

/** Sum over all elements of all gradients of their squares; its root is the global norm. */
export function sumSquares(grads: tf.Tensor[]): tf.Scalar {
  return sumSquaresReference(grads)
}

/** The factor min(1, maxNorm / (norm + 1e-6)) of torch.nn.utils.clip_grad_norm_, from the sum of squares, without a readback. */
export function clipFactor(sumOfSquares: tf.Scalar, maxNorm: number): tf.Scalar {
  return tf.tidy(() => tf.minimum(1, tf.div(maxNorm, tf.add(tf.sqrt(sumOfSquares), 1e-6))) as tf.Scalar)
}
