/** GPT-NeoX and Pythia: LayerNorm, attention and feed-forward side by side, partial rope, queries, keys and values head by head. */
import { attentionLinears, selfAttention } from '../nn/attention'
import type { SelfAttentionParts } from '../nn/attention'
import { plainMlp } from '../nn/mlp'
import type { PlainMlpParts } from '../nn/mlp'
import type { RopeConfig, RopeTables } from '../nn/rope'
import { matrixIn } from '../nn/network'
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

interface NeoxConfig extends BaseConfig {
  readonly epsilon: number
  readonly activation: PlainMlpParts['activation']
  readonly rope: RopeConfig
  readonly parallel: boolean
  readonly bias: boolean
}

function readConfig(config: ConfigReader, modelType: string): NeoxConfig {
  const base = readBase(config, modelType, false)
  const inner = config.object('rope_parameters')
  const share = inner?.has('partial_rotary_factor')
    ? inner.number('partial_rotary_factor', undefined, 0)
    : config.number('rotary_pct', 0.25, 0)
  const activation = config.choice('hidden_act', ['gelu', 'gelu_new', 'gelu_fast', 'gelu_pytorch_tanh'], 'gelu')
  const theta = config.has('rotary_emb_base') ? config.number('rotary_emb_base', 10000, 0) : 10000
  return {
    ...base,
    kvHeads: base.heads,
    epsilon: config.number('layer_norm_eps', 1e-5, 0),
    activation: activation === 'gelu' ? 'gelu' : 'gelu_tanh',
    rope: readRope(config, base, Math.floor(base.headDim * share), { theta }),
    parallel: config.boolean('use_parallel_residual', true),
    bias: config.boolean('attention_bias', true),
  }
}

function plan(c: NeoxConfig): WeightPlan {
  const result = new PlanBuilder()
  const h = c.hiddenSize
  const norm = (name: string): void => {
    result.vector(`${name}.weight`, h)
    result.vector(`${name}.bias`, h)
  }
  result.embeddingAndHead('gpt_neox.embed_in', 'embed_out', c)
  norm('gpt_neox.final_layer_norm')
  for (let i = 0; i < c.layers; i++) {
    const at = `gpt_neox.layers.${i}`
    norm(`${at}.input_layernorm`)
    norm(`${at}.post_attention_layernorm`)
    result.linear(`${at}.attention.query_key_value`, 3 * h, h, c.bias)
    result.linear(`${at}.attention.dense`, h, h, c.bias)
    result.linear(`${at}.mlp.dense_h_to_4h`, c.intermediateSize, h, true)
    result.linear(`${at}.mlp.dense_4h_to_h`, h, c.intermediateSize, true)
  }
  return result.done([/\.attention\.(masked_)?bias$/, /\.attention\.rotary_emb\./])
}

async function buildLayer(c: NeoxConfig, i: number, rope: RopeTables, load: WeightLoader): Promise<StackLayer> {
  const at = `gpt_neox.layers.${i}`
  const first = await loadLayerNorm(load, `${at}.input_layernorm`, c.epsilon)
  const second = await loadLayerNorm(load, `${at}.post_attention_layernorm`, c.epsilon)
  const attention: SelfAttentionParts = {
    layer: i,
    heads: c.heads,
    kvHeads: c.heads,
    headDim: c.headDim,
    scale: 1 / Math.sqrt(c.headDim),
    rope,
    project: { fused: await load.linear(`${at}.attention.query_key_value`, i), order: 'heads' },
    output: await load.linear(`${at}.attention.dense`, i),
  }
  const mlp: PlainMlpParts = {
    activation: c.activation,
    up: await load.linear(`${at}.mlp.dense_h_to_4h`, i),
    down: await load.linear(`${at}.mlp.dense_4h_to_h`, i),
  }
  return {
    linears: [...attentionLinears(attention), mlp.up, mlp.down],
    forward(x, pass) {
      const middle = tf.add(x, selfAttention(first(x, pass), attention, pass)) as tf.Tensor2D
      return tf.add(middle, plainMlp(second(c.parallel ? x : middle, pass), mlp, pass))
    },
  }
}

async function build(c: NeoxConfig, load: WeightLoader): Promise<StackParts> {
  const rope = load.rope(c.rope)
  const table = await load.matrix('gpt_neox.embed_in.weight')
  const layers: StackLayer[] = []
  for (let i = 0; i < c.layers; i++) layers.push(await buildLayer(c, i, rope, load))
  const finish = await loadLayerNorm(load, 'gpt_neox.final_layer_norm', c.epsilon)
  const head = c.tied ? table : await load.matrix('embed_out.weight')
  const tokens: StackParts['embed'] = (ids, pass) => overlaid(embed(ids, matrixIn(pass, table)), pass)
  return { hidden: c.hiddenSize, head, layers, finish, embed: tokens }
}

export const gptNeox: Family<NeoxConfig> = {
  modelTypes: ['gpt_neox'],
  targets: ['query_key_value', 'dense', 'dense_h_to_4h', 'dense_4h_to_h'],
  readConfig,
  plan,
  build,
}
