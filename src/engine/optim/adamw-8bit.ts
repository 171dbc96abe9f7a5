/**
 * AdamW that keeps its moments in 8 bits: a quarter of the memory beside the weights, which counts where all weights are trained. Refuses
 * small tensors: there it would save nothing and cost precision, as bitsandbytes has it.
 */
import type { AdamSettings } from '../ops'
import { adamw8bitUpdate, momentMaps, momentShapes } from '../ops/adamw-8bit'
import type { tf } from '../tf'
import type { Rule } from './rule'

/** Values of a tensor from which its moments are kept in 8 bits; bitsandbytes' `min_8bit_size`. */
export const MIN_8BIT = 4096

/** Its slots are the moments' places among the numbers that 8 bits stand for, and the scales of their blocks. */
export function adamw8bit(settings: AdamSettings & { readonly weightDecay: number }): Rule {
  const maps = momentMaps()
  return {
    slots: (variable) => {
      const { codes, scales } = momentShapes(variable.size)
      return { codes: { shape: codes, dtype: 'int32' }, scales: { shape: scales } }
    },
    update: (variable, gradient, slots, update) => {
      const [codes, scales] = slots as [tf.Variable, tf.Variable]
      adamw8bitUpdate(variable, gradient, { codes, scales }, maps, { ...settings, ...update })
    },
    dispose: () => maps.dispose(),
  }
}
