/** Mistral: Llama with a sliding window and heads that may be of another width than hidden / heads. */
import type { Family } from './family'
import type { LlamaConfig } from './llama'
import { buildLlamaLike, LLAMA_TARGETS, llamaPlan, readLlamaLike } from './llama'

export const mistral: Family<LlamaConfig> = {
  modelTypes: ['mistral'],
  targets: LLAMA_TARGETS,
  readConfig(config, modelType) {
    const read = readLlamaLike(config, modelType)
    const window = config.has('sliding_window') ? config.integer('sliding_window') : undefined
    return { ...read, windows: read.windows.map(() => window) }
  },
  plan: llamaPlan,
  build: buildLlamaLike,
}
