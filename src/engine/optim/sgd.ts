/** Stochastic gradient descent with momentum as torch.optim.SGD computes it: weight decay is part of the gradient. Refuses Nesterov. */
import { assign } from '../ops/store'
import { tf } from '../tf'
import type { Rule } from './rule'

export interface MomentumSettings {
  readonly momentum: number
  readonly weightDecay: number
}

/** g ← clip·grad + decay·p; buffer ← momentum·buffer + g; p ← p − lr·buffer. */
export function sgd({ momentum, weightDecay }: MomentumSettings): Rule {
  return {
    slots: ({ shape }) => ({ momentum: { shape } }),
    update: (variable, gradient, slots, { learningRate, clip }) => {
      const buffer = slots[0] as tf.Variable
      tf.tidy(() => {
        const slope = tf.add(tf.mul(gradient, clip), tf.mul(variable, weightDecay))
        assign(buffer, tf.add(tf.mul(buffer, momentum), slope))
        assign(variable, tf.sub(variable, tf.mul(buffer, learningRate)))
      })
    },
  }
}
