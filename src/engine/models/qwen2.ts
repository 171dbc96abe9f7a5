/** Qwen 2 and 2.5: Llama with biases on queries, keys and values, and a window in later layers where it is switched on. */
import type { ConfigReader } from './config'
import type { Family } from './family'
import type { LlamaConfig } from './llama'
import { buildLlamaLike, LLAMA_TARGETS, llamaPlan, readLlamaLike } from './llama'

/**
 * The window of each layer: from `layer_types` (transformers 5), else in layers from `max_window_layers` on.
 * Undefined where a layer sees everything.
 */
export function layerWindows(config: ConfigReader, layers: number): (number | undefined)[] {
  const every = Array.from({ length: layers }, (_, i) => i)
  const types = config.strings('layer_types')
  if (types && types.length !== layers) config.problem(`layer_types has ${types.length} entries for ${layers} layers.`)
  const isOn = config.boolean('use_sliding_window', types?.includes('sliding_attention') ?? false)
  if (!isOn || !config.has('sliding_window')) return every.map(() => undefined)
  const window = config.integer('sliding_window')
  const first = config.integer('max_window_layers', 28, 0)
  return every.map((i) => ((types ? types[i] === 'sliding_attention' : i >= first) ? window : undefined))
}

export const qwen2: Family<LlamaConfig> = {
  modelTypes: ['qwen2'],
  targets: LLAMA_TARGETS,
  readConfig(config, modelType) {
    const read = readLlamaLike(config, modelType, { qkvBias: true })
    return { ...read, windows: layerWindows(config, read.layers) }
  },
  plan: llamaPlan,
  build: buildLlamaLike,
}
