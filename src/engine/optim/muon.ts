/**
 * Muon (Jordan et al. 2024): matrices move by their momentum made orthogonal, scaled so that AdamW's learning rates fit (Liu et al. 2025).
 * Refuses vectors and tables.
 */
import { assign } from '../ops/store'
import { tf } from '../tf'
import { decayed } from './decay'
import type { Rule } from './rule'
import type { MomentumSettings } from './sgd'

/** Newton-Schulz coefficients and rounds of torch.optim.Muon. */
const [A, B, C] = [3.4445, -4.775, 2.0315]
const ROUNDS = 5

/**
 * About U·Vᵀ of a matrix U·S·Vᵀ, by five rounds of x ← a·x + (b·xxᵀ + c·(xxᵀ)²)·x on the normalised matrix, its short side first.
 * Source: torch.optim._muon._zeropower_via_newtonschulz, here in f32 instead of bfloat16.
 */
function orthogonal(matrix: tf.Tensor2D): tf.Tensor2D {
  const tall = matrix.shape[0] > matrix.shape[1]
  const wide = tall ? tf.transpose(matrix) : matrix
  let x = tf.div(wide, tf.maximum(tf.norm(wide), 1e-7)) as tf.Tensor2D
  for (let round = 0; round < ROUNDS; round++) {
    const gram = tf.matMul(x, tf.transpose(x))
    const mixed = tf.add(tf.mul(gram, B), tf.mul(tf.matMul(gram, gram), C)) as tf.Tensor2D
    x = tf.add(tf.mul(x, A), tf.matMul(mixed, x))
  }
  return tall ? tf.transpose(x) : x
}

/**
 * m ← momentum·m + (1−momentum)·g; p ← p·(1 − lr·decay) − lr·0.2·√max(rows, columns)·orthogonal((1−momentum)·g + momentum·m).
 */
export function muon({ momentum, weightDecay }: MomentumSettings): Rule {
  return {
    slots: ({ shape }) => ({ momentum: { shape } }),
    update: (variable, gradient, slots, { learningRate, clip }) => {
      const buffer = slots[0] as tf.Variable
      tf.tidy(() => {
        const slope = tf.mul(gradient, clip)
        assign(buffer, tf.add(tf.mul(buffer, momentum), tf.mul(slope, 1 - momentum)))
        const ahead = tf.add(tf.mul(slope, 1 - momentum), tf.mul(buffer, momentum)) as tf.Tensor2D
        const pace = tf.mul(learningRate, 0.2 * Math.sqrt(Math.max(...variable.shape)))
        const kept = decayed(variable, learningRate, weightDecay)
        assign(variable, tf.sub(kept, tf.mul(orthogonal(ahead), pace)))
      })
    },
  }
}
