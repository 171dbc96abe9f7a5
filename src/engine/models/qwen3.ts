/** Qwen 3: Llama with a norm over each head of queries and keys. */
import type { Family } from './family'
import type { LlamaConfig } from './llama'
import { buildLlamaLike, LLAMA_TARGETS, llamaPlan, readLlamaLike } from './llama'
import { layerWindows } from './qwen2'

export const qwen3: Family<LlamaConfig> = {
  modelTypes: ['qwen3'],
  targets: LLAMA_TARGETS,
  readConfig(config, modelType) {
    const bias = config.boolean('attention_bias', false)
    const read = readLlamaLike(config, modelType, { headNorm: true, qkvBias: bias, outputBias: bias })
    return { ...read, windows: layerWindows(config, read.layers) }
  },
  plan: llamaPlan,
  build: buildLlamaLike,
}
