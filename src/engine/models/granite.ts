/** Granite (dense): Llama with four factors, on the embeddings, the scores, what each block adds, and the logits. */
import type { Family } from './family'
import type { LlamaConfig } from './llama'
import { buildLlamaLike, LLAMA_TARGETS, llamaPlan, readLlamaLike } from './llama'

export const granite: Family<LlamaConfig> = {
  modelTypes: ['granite'],
  targets: LLAMA_TARGETS,
  readConfig(config, modelType) {
    const bias = config.boolean('attention_bias', false)
    return readLlamaLike(config, modelType, {
      qkvBias: bias,
      outputBias: bias,
      mlpBias: config.boolean('mlp_bias', false),
      embeddingScale: config.number('embedding_multiplier', 1),
      scoreScale: config.number('attention_multiplier', 1),
      residualScale: config.number('residual_multiplier', 1),
      headScale: 1 / config.number('logits_scaling', 1, 0),
    })
  },
  plan: llamaPlan,
  build: buildLlamaLike,
}
