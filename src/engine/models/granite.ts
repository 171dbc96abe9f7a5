/** Granite (dense): Llama with four factors, on the embeddings, the scores, what each block adds, and the logits. */
import type { Family } from './family'
import { llama, type LlamaConfig } from './llama'

export const granite: Family<LlamaConfig> = {
  ...llama,
  modelTypes: ['granite'],
  readConfig(config, modelType) {
    return {
      ...llama.readConfig(config, modelType),
      embeddingScale: config.number('embedding_multiplier', 1),
      scoreScale: config.number('attention_multiplier', 1),
      residualScale: config.number('residual_multiplier', 1),
      headScale: 1 / config.number('logits_scaling', 1, 0),
    }
  },
}
