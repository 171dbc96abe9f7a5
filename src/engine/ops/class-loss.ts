/**
 * Scores of classes from hidden states, and their cross entropy, with gradients for both: for heads of a few classes, in plain
 * TensorFlow.js. Refuses to be a head of a vocabulary, for which cross-entropy.ts has the means.
 */
import { tf } from '../tf'

/** What a head says of each position. */
interface ClassLoss {
  /** Nats `[n]`; 0 where the target is no class. */
  readonly loss: tf.Tensor1D
  /** 1 where the target has the highest score `[n]`. */
  readonly correct: tf.Tensor1D
}

/** `[n, width]` → `[n, classes]`. Columns of `hidden` beyond the head's width are not looked at (a 1 that some heads take a bias by). */
export function classScores(hidden: tf.Tensor2D, head: tf.Tensor2D): tf.Tensor2D {
  return tf.matMul(narrow(hidden, head), head, false, true)
}

function narrow(hidden: tf.Tensor2D, head: tf.Tensor2D): tf.Tensor2D {
  return hidden.shape[1] === head.shape[1] ? hidden : tf.slice(hidden, [0, 0], [hidden.shape[0], head.shape[1]])
}

/** `[n, classes]`: 1 at each target, no 1 where the target is no class. */
function targetsOf(targets: tf.Tensor1D, classes: number): tf.Tensor2D {
  return tf.cast(tf.equal(tf.expandDims(targets, 1), tf.range(0, classes, 1, 'int32')), 'float32')
}

/** Loss and whether it is right, for targets int32 `[n]`. Call it inside tf.tidy. */
export function classLoss(hidden: tf.Tensor2D, head: tf.Tensor2D, targets: tf.Tensor1D): ClassLoss {
  const scores = classScores(hidden, head)
  const wanted = targetsOf(targets, head.shape[0])
  const loss = tf.neg(tf.sum(tf.mul(wanted, tf.logSoftmax(scores)), 1)) as tf.Tensor1D
  return { loss, correct: tf.cast(tf.equal(tf.argMax(scores, 1), targets), 'float32') }
}

/** The same with the gradient of `scale · sum of losses` for `hidden` and `head`. Call it inside tf.tidy. */
export function classLossWithGrad(
  hidden: tf.Tensor2D,
  head: tf.Tensor2D,
  targets: tf.Tensor1D,
  scale: number | tf.Scalar,
): ClassLoss & { dHidden: tf.Tensor2D; dHead: tf.Tensor2D } {
  const wanted = targetsOf(targets, head.shape[0])
  const counts = tf.sum(wanted, 1, true)
  const probabilities = tf.softmax(classScores(hidden, head))
  const slope = tf.mul(tf.mul(tf.sub(probabilities, wanted), counts), scale) as tf.Tensor2D
  const dNarrow = tf.matMul<tf.Tensor2D>(slope, head)
  const beyond = hidden.shape[1] - head.shape[1]
  return {
    ...classLoss(hidden, head, targets),
    dHidden: beyond === 0 ? dNarrow : tf.pad2d(dNarrow, [[0, 0], [0, beyond]]), // prettier-ignore
    dHead: tf.matMul(slope, narrow(hidden, head), true, false),
  }
}
