/**
 * AdamW that keeps its moments in 8 bits: a quarter of the memory beside the weights, which counts where all weights are trained. Refuses
 * small tensors, which it hands to another rule: there it would save nothing and cost precision, as bitsandbytes has it.
 */
import type { tf } from '../tf'
import { adamw8bitUpdate, momentMaps, momentShapes } from '../ops/adamw-8bit'
import type { AdamSettings } from './adamw'
import type { Rule } from './rule'

/** Values of a tensor from which its moments are kept in 8 bits; bitsandbytes' `min_8bit_size`. */
export const MIN_8BIT = 4096

/** @param others moves what is smaller. */
export function adamw8bit(settings: AdamSettings, others: Rule): Rule {
  const maps = momentMaps()
  const isSmall = ({ size }: tf.Variable): boolean => size < MIN_8BIT
  return {
    name: 'adam8bit',
    slots: (variable) => {
      if (isSmall(variable)) return others.slots(variable)
      const { codes, scales } = momentShapes(variable.size)
      return { codes: { shape: codes, dtype: 'int32' }, scales: { shape: scales } }
    },
    update: (variable, gradient, slots, update) => {
      if (isSmall(variable)) return others.update(variable, gradient, slots, update)
      const [codes, scales] = slots as [tf.Variable, tf.Variable]
      adamw8bitUpdate(variable, gradient, { codes, scales }, maps, { ...settings, ...update })
    },
    dispose: () => maps.dispose(),
  }
}
