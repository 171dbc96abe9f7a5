/** Phi-3 and Phi-4-mini: Llama with queries, keys and values in one projection, gate and up in another, and partial rope. */
import type { StackLayer } from '../nn/stack'
import { readRope } from './config'
import type { Family } from './family'
import type { LlamaConfig } from './llama'
import { llamaStack, preNormLayer, readLlamaLike } from './llama'
import { PlanBuilder } from './weights'

export const phi3: Family<LlamaConfig> = {
  modelTypes: ['phi3'],
  targets: ['qkv_proj', 'o_proj', 'gate_up_proj', 'down_proj'],
  readConfig(config, modelType) {
    const read = readLlamaLike(config, modelType)
    const inner = config.object('rope_parameters')
    const share = (inner?.has('partial_rotary_factor') ? inner : config).number('partial_rotary_factor', 1, 0)
    const window = config.has('sliding_window') ? config.integer('sliding_window') : undefined
    return {
      ...read,
      rope: readRope(config, read, Math.floor(read.headDim * share)),
      windows: read.windows.map(() => window),
    }
  },
  plan(c) {
    const plan = new PlanBuilder()
    plan.embeddingAndHead('model.embed_tokens', 'lm_head', c)
    plan.vector('model.norm.weight', c.hiddenSize)
    for (let i = 0; i < c.layers; i++) {
      const at = `model.layers.${i}`
      plan.vector(`${at}.input_layernorm.weight`, c.hiddenSize)
      plan.vector(`${at}.post_attention_layernorm.weight`, c.hiddenSize)
      plan.linear(`${at}.self_attn.qkv_proj`, (c.heads + 2 * c.kvHeads) * c.headDim, c.hiddenSize)
      plan.linear(`${at}.self_attn.o_proj`, c.hiddenSize, c.heads * c.headDim)
      plan.linear(`${at}.mlp.gate_up_proj`, 2 * c.intermediateSize, c.hiddenSize)
      plan.linear(`${at}.mlp.down_proj`, c.hiddenSize, c.intermediateSize)
    }
    return plan.done()
  },
  async build(c, load) {
    const rope = load.rope(c.rope)
    const layers: StackLayer[] = []
    for (let i = 0; i < c.layers; i++) {
      const at = `model.layers.${i}`
      const norms = {
        input: await load.vector(`${at}.input_layernorm.weight`),
        post: await load.vector(`${at}.post_attention_layernorm.weight`),
      }
      const window = c.windows[i]
      const attention = {
        layer: i,
        heads: c.heads,
        kvHeads: c.kvHeads,
        headDim: c.headDim,
        scale: c.scoreScale,
        rope,
        ...(window === undefined ? {} : { window }),
        project: { fused: await load.linear(`${at}.self_attn.qkv_proj`, i), order: 'blocks' as const },
        output: await load.linear(`${at}.self_attn.o_proj`, i),
      }
      const mlp = {
        activation: 'silu' as const,
        project: { fused: await load.linear(`${at}.mlp.gate_up_proj`, i) },
        down: await load.linear(`${at}.mlp.down_proj`, i),
      }
      layers.push(preNormLayer(attention, mlp, norms, c))
    }
    return llamaStack(c, layers, load)
  },
}
