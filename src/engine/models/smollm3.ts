/** SmolLM 3: Llama without positions in every fourth layer. */
import type { Family } from './family'
import type { LlamaConfig } from './llama'
import { buildLlamaLike, LLAMA_TARGETS, llamaPlan, readLlamaLike } from './llama'
import { layerWindows } from './qwen2'

export const smollm3: Family<LlamaConfig> = {
  modelTypes: ['smollm3'],
  targets: LLAMA_TARGETS,
  readConfig(config, modelType) {
    const bias = config.boolean('attention_bias', false)
    const read = readLlamaLike(config, modelType, {
      qkvBias: bias,
      outputBias: bias,
      mlpBias: config.boolean('mlp_bias', false),
      theta: 2_000_000,
    })
    // 1 keeps positions; written out, or every so many layers without.
    const given = config.numbers('no_rope_layers')
    const every = config.integer('no_rope_layer_interval', 4)
    const hasRope = read.hasRope.map((_, i) => (given ? given[i] === 1 : (i + 1) % every !== 0))
    return { ...read, hasRope, windows: layerWindows(config, read.layers) }
  },
  plan: llamaPlan,
  build: buildLlamaLike,
}
