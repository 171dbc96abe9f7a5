/** Phi 1, 1.5 and 2: one LayerNorm before attention and feed-forward side by side, biases everywhere (also on the head), partial rope. */
import { attentionLinears, selfAttention } from '../nn/attention'
import type { SelfAttentionParts } from '../nn/attention'
import { plainMlp } from '../nn/mlp'
import type { PlainMlpParts } from '../nn/mlp'
import { matrixIn } from '../nn/network'
import type { RopeConfig, RopeTables } from '../nn/rope'
import type { StackLayer, StackParts } from '../nn/stack'
import { overlaid } from '../nn/virtual'
import { embed } from '../ops'
import { tf } from '../tf'
import type { BaseConfig, ConfigReader } from './config'
import { readBase, readRope } from './config'
import type { Family } from './family'
import { loadLayerNorm } from './gpt2'
import type { WeightLoader, WeightPlan } from './weights'
import { PlanBuilder } from './weights'

interface PhiConfig extends BaseConfig {
  readonly epsilon: number
  readonly activation: PlainMlpParts['activation']
  readonly rope: RopeConfig
}

function readConfig(config: ConfigReader, modelType: string): PhiConfig {
  const base = readBase(config, modelType, false)
  const inner = config.object('rope_parameters')
  const share = (inner?.has('partial_rotary_factor') ? inner : config).number('partial_rotary_factor', 0.5, 0)
  const activation = config.choice('hidden_act', ['gelu_new', 'gelu', 'gelu_pytorch_tanh'], 'gelu_new')
  config.require('qk_layernorm', false)
  return {
    ...base,
    epsilon: config.number('layer_norm_eps', 1e-5, 0),
    activation: activation === 'gelu' ? 'gelu' : 'gelu_tanh',
    rope: readRope(config, base, Math.floor(base.headDim * share)),
  }
}

function plan(c: PhiConfig): WeightPlan {
  const result = new PlanBuilder()
  const [q, kv] = [c.heads * c.headDim, c.kvHeads * c.headDim]
  const norm = (name: string): void => {
    result.vector(`${name}.weight`, c.hiddenSize)
    result.vector(`${name}.bias`, c.hiddenSize)
  }
  result.embeddingAndHead('model.embed_tokens', 'lm_head', c)
  result.vector('lm_head.bias', c.vocabulary)
  norm('model.final_layernorm')
  for (let i = 0; i < c.layers; i++) {
    const at = `model.layers.${i}`
    norm(`${at}.input_layernorm`)
    result.linear(`${at}.self_attn.q_proj`, q, c.hiddenSize, true)
    result.linear(`${at}.self_attn.k_proj`, kv, c.hiddenSize, true)
    result.linear(`${at}.self_attn.v_proj`, kv, c.hiddenSize, true)
    result.linear(`${at}.self_attn.dense`, c.hiddenSize, q, true)
    result.linear(`${at}.mlp.fc1`, c.intermediateSize, c.hiddenSize, true)
    result.linear(`${at}.mlp.fc2`, c.hiddenSize, c.intermediateSize, true)
  }
  return result.done()
}

async function buildLayer(c: PhiConfig, i: number, rope: RopeTables, load: WeightLoader): Promise<StackLayer> {
  const at = `model.layers.${i}`
  const norm = await loadLayerNorm(load, `${at}.input_layernorm`, c.epsilon)
  const attention: SelfAttentionParts = {
    layer: i,
    heads: c.heads,
    kvHeads: c.kvHeads,
    headDim: c.headDim,
    scale: 1 / Math.sqrt(c.headDim),
    rope,
    project: {
      query: await load.linear(`${at}.self_attn.q_proj`, i),
      key: await load.linear(`${at}.self_attn.k_proj`, i),
      value: await load.linear(`${at}.self_attn.v_proj`, i),
    },
    output: await load.linear(`${at}.self_attn.dense`, i),
  }
  const mlp: PlainMlpParts = {
    activation: c.activation,
    up: await load.linear(`${at}.mlp.fc1`, i),
    down: await load.linear(`${at}.mlp.fc2`, i),
  }
  return {
    linears: [...attentionLinears(attention), mlp.up, mlp.down],
    forward(x, pass) {
      const y = norm(x, pass)
      return tf.add(x, tf.add(selfAttention(y, attention, pass), plainMlp(y, mlp, pass)))
    },
  }
}

async function build(c: PhiConfig, load: WeightLoader): Promise<StackParts> {
  const rope = load.rope(c.rope)
  const table = await load.matrix('model.embed_tokens.weight')
  const layers: StackLayer[] = []
  for (let i = 0; i < c.layers; i++) layers.push(await buildLayer(c, i, rope, load))
  const finish = await loadLayerNorm(load, 'model.final_layernorm', c.epsilon)
  // The head's bias is a column more of its weight, and what it takes has a 1 there.
  const head = await load.matrixWithBias(c.tied ? 'model.embed_tokens' : 'lm_head', 'lm_head.bias')
  return {
    hidden: c.hiddenSize,
    head,
    layers,
    embed: (ids, pass) => overlaid(embed(ids, matrixIn(pass, table)), pass),
    finish: (x, pass) => tf.concat([finish(x, pass), tf.fill([x.shape[0], 1], 1)], 1) as tf.Tensor2D,
  }
}

export const phi: Family<PhiConfig> = {
  modelTypes: ['phi'],
  targets: ['q_proj', 'k_proj', 'v_proj', 'dense', 'fc1', 'fc2'],
  readConfig,
  plan,
  build,
}
