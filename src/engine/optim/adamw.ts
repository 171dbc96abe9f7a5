/** AdamW (Loshchilov & Hutter 2019) as PyTorch computes it. Refuses the plain form with decay inside the gradient. */
import { adamwUpdate } from '../ops'
import type { tf } from '../tf'
import type { Rule } from './rule'

export interface AdamSettings {
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
  readonly weightDecay: number
}

/** Its slots are the running means of the gradient and of its square. */
export function adamw(settings: AdamSettings): Rule {
  return {
    name: 'adam',
    slots: ({ shape }) => ({ m: { shape }, v: { shape } }),
    update: (variable, gradient, slots, update) =>
      adamwUpdate(variable, gradient, slots[0] as tf.Variable, slots[1] as tf.Variable, { ...settings, ...update }),
  }
}
