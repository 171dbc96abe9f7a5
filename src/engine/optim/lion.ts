/** Lion (Chen et al. 2023, algorithm 2): moves by the sign of a running mean, so that only its rate says how far. Refuses other betas than it is given. */
import { assign } from '../ops/store'
import { tf } from '../tf'
import { decayed } from './decay'
import type { Rule } from './rule'
import type { MomentumSettings } from './sgd'

/** How much of the running mean is kept; the paper's value. The mean that the sign is taken of keeps `momentum`. */
const KEPT = 0.99

/** p ← p·(1 − lr·decay) − lr·sign(momentum·m + (1−momentum)·g); m ← 0.99·m + 0.01·g. */
export function lion({ momentum, weightDecay }: MomentumSettings): Rule {
  return {
    slots: ({ shape }) => ({ m: { shape } }),
    update: (variable, gradient, slots, { learningRate, clip }) => {
      const mean = slots[0] as tf.Variable
      tf.tidy(() => {
        const slope = tf.mul(gradient, clip)
        const direction = tf.sign(tf.add(tf.mul(mean, momentum), tf.mul(slope, 1 - momentum)))
        const kept = decayed(variable, learningRate, weightDecay)
        assign(variable, tf.sub(kept, tf.mul(direction, learningRate)))
        assign(mean, tf.add(tf.mul(mean, KEPT), tf.mul(slope, 1 - KEPT)))
      })
    },
  }
}
