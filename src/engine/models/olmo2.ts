/** OLMo 2: Llama with norms after each block instead of before it, and norms over the whole of queries and keys. */
import { attentionLinears, selfAttention } from '../nn/attention'
import { gatedMlp, mlpLinears } from '../nn/mlp'
import type { StackLayer } from '../nn/stack'
import { vectorIn } from '../nn/network'
import { rmsNorm } from '../ops'
import { tf } from '../tf'
import type { Family } from './family'
import type { LlamaConfig } from './llama'
import { LLAMA_TARGETS, llamaAttention, llamaMlp, llamaPlan, llamaStack, readLlamaLike } from './llama'
import type { WeightLoader } from './weights'

async function buildLayer(
  c: LlamaConfig,
  i: number,
  rope: ReturnType<WeightLoader['rope']>,
  load: WeightLoader,
): Promise<StackLayer> {
  const at = `model.layers.${i}`
  const afterAttention = await load.vector(`${at}.post_attention_layernorm.weight`)
  const afterMlp = await load.vector(`${at}.post_feedforward_layernorm.weight`)
  const norm = {
    over: 'projection' as const,
    query: await load.vector(`${at}.self_attn.q_norm.weight`),
    key: await load.vector(`${at}.self_attn.k_norm.weight`),
    epsilon: c.epsilon,
  }
  const attention = { ...(await llamaAttention(c, i, rope, load)), norm }
  const mlp = await llamaMlp(i, load, 'silu')
  return {
    linears: [...attentionLinears(attention), ...mlpLinears(mlp)],
    forward(x, pass) {
      const middle = tf.add(
        x,
        rmsNorm(selfAttention(x, attention, pass), vectorIn(pass, afterAttention), c.epsilon),
      ) as tf.Tensor2D
      return tf.add(middle, rmsNorm(gatedMlp(middle, mlp, pass), vectorIn(pass, afterMlp), c.epsilon))
    },
  }
}

export const olmo2: Family<LlamaConfig> = {
  modelTypes: ['olmo2'],
  targets: LLAMA_TARGETS,
  readConfig(config, modelType) {
    const bias = config.boolean('attention_bias', false)
    return readLlamaLike(config, modelType, { qkvBias: bias, outputBias: bias })
  },
  plan(c) {
    const { specs, ignore } = llamaPlan(c, ['post_attention_layernorm', 'post_feedforward_layernorm'])
    const own = [...specs]
    for (let i = 0; i < c.layers; i++) {
      const at = `model.layers.${i}`
      own.push({ name: `${at}.self_attn.q_norm.weight`, shape: [c.heads * c.headDim] })
      own.push({ name: `${at}.self_attn.k_norm.weight`, shape: [c.kvHeads * c.headDim] })
    }
    return { specs: own, ignore }
  },
  async build(c, load) {
    const rope = load.rope(c.rope)
    const layers: StackLayer[] = []
    for (let i = 0; i < c.layers; i++) layers.push(await buildLayer(c, i, rope, load))
    return llamaStack(c, layers, load)
  },
}
