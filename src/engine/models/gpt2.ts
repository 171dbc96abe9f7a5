/** GPT-2: learnt positions, LayerNorm, one projection for queries, keys and values, GELU; weights stored as [in, out]. */
import { attentionLinears, selfAttention } from '../nn/attention'
import type { SelfAttentionParts } from '../nn/attention'
import { plainMlp } from '../nn/mlp'
import type { PlainMlpParts } from '../nn/mlp'
import { matrixIn, vectorIn, type Pass } from '../nn/network'
import type { StackLayer, StackParts } from '../nn/stack'
import { overlaid } from '../nn/virtual'
import { embed, layerNorm } from '../ops'
import { tf } from '../tf'
import type { BaseConfig, ConfigReader } from './config'
import type { Family } from './family'
import type { WeightLoader, WeightPlan, WeightSpec } from './weights'
import { PlanBuilder } from './weights'

interface Gpt2Config extends BaseConfig {
  readonly epsilon: number
  readonly activation: PlainMlpParts['activation']
  readonly scaleByLayer: boolean
  readonly scaled: boolean
}

function readConfig(config: ConfigReader, modelType: string): Gpt2Config {
  const hiddenSize = config.integer('n_embd', 768)
  const heads = config.integer('n_head', 12)
  if (hiddenSize % heads !== 0) config.problem(`n_embd ${hiddenSize} is not a multiple of n_head ${heads}.`)
  const activation = config.choice('activation_function', ['gelu_new', 'gelu_pytorch_tanh', 'gelu'], 'gelu_new')
  return {
    modelType,
    hiddenSize,
    heads,
    kvHeads: heads,
    headDim: hiddenSize / heads,
    intermediateSize: config.integer('n_inner', 4 * hiddenSize),
    layers: config.integer('n_layer', 12, 1, 1000),
    vocabulary: config.integer('vocab_size', 50257),
    maxPositions: config.integer('n_positions', 1024),
    tied: config.boolean('tie_word_embeddings', true),
    epsilon: config.number('layer_norm_epsilon', 1e-5, 0),
    activation: activation === 'gelu' ? 'gelu' : 'gelu_tanh',
    scaled: config.boolean('scale_attn_weights', true),
    scaleByLayer: config.boolean('scale_attn_by_inverse_layer_idx', false),
  }
}

/** Files of the first GPT-2s leave the prefix `transformer.` out. */
function withBareNames({ specs, ignore }: WeightPlan): WeightPlan {
  const bare = ({ name }: WeightSpec): string[] => (name.startsWith('transformer.') ? [name.slice(12)] : [])
  return { specs: specs.map((spec) => ({ ...spec, aliases: [...(spec.aliases ?? []), ...bare(spec)] })), ignore }
}

function plan(c: Gpt2Config): WeightPlan {
  const result = new PlanBuilder()
  const h = c.hiddenSize
  const norm = (name: string): void => {
    result.vector(`${name}.weight`, h)
    result.vector(`${name}.bias`, h)
  }
  result.embeddingAndHead('transformer.wte', 'lm_head', c)
  result.matrix('transformer.wpe.weight', c.maxPositions, h)
  norm('transformer.ln_f')
  for (let i = 0; i < c.layers; i++) {
    const at = `transformer.h.${i}`
    norm(`${at}.ln_1`)
    norm(`${at}.ln_2`)
    result.linear(`${at}.attn.c_attn`, 3 * h, h, true, true)
    result.linear(`${at}.attn.c_proj`, h, h, true, true)
    result.linear(`${at}.mlp.c_fc`, c.intermediateSize, h, true, true)
    result.linear(`${at}.mlp.c_proj`, h, c.intermediateSize, true, true)
  }
  return withBareNames(result.done([/\.attn\.(masked_)?bias$/]))
}

/** A LayerNorm by name, ready to apply. */
export async function loadLayerNorm(
  load: WeightLoader,
  name: string,
  epsilon: number,
): Promise<(x: tf.Tensor2D, pass: Pass) => tf.Tensor2D> {
  const [weight, bias] = [await load.vector(`${name}.weight`), await load.vector(`${name}.bias`)]
  return (x, pass) => layerNorm(x, vectorIn(pass, weight), vectorIn(pass, bias), epsilon)
}

async function buildLayer(c: Gpt2Config, i: number, load: WeightLoader): Promise<StackLayer> {
  const at = `transformer.h.${i}`
  const before = await loadLayerNorm(load, `${at}.ln_1`, c.epsilon)
  const between = await loadLayerNorm(load, `${at}.ln_2`, c.epsilon)
  const attention: SelfAttentionParts = {
    layer: i,
    heads: c.heads,
    kvHeads: c.heads,
    headDim: c.headDim,
    scale: (c.scaled ? 1 / Math.sqrt(c.headDim) : 1) / (c.scaleByLayer ? i + 1 : 1),
    rope: null,
    project: { fused: await load.linear(`${at}.attn.c_attn`, i, true), order: 'blocks' },
    output: await load.linear(`${at}.attn.c_proj`, i, true),
  }
  const mlp: PlainMlpParts = {
    activation: c.activation,
    up: await load.linear(`${at}.mlp.c_fc`, i, true),
    down: await load.linear(`${at}.mlp.c_proj`, i, true),
  }
  return {
    linears: [...attentionLinears(attention), mlp.up, mlp.down],
    forward(x, pass) {
      const middle = tf.add(x, selfAttention(before(x, pass), attention, pass)) as tf.Tensor2D
      return tf.add(middle, plainMlp(between(middle, pass), mlp, pass))
    },
  }
}

async function build(c: Gpt2Config, load: WeightLoader): Promise<StackParts> {
  const table = await load.matrix('transformer.wte.weight')
  const positions = await load.matrix('transformer.wpe.weight')
  const layers: StackLayer[] = []
  for (let i = 0; i < c.layers; i++) layers.push(await buildLayer(c, i, load))
  const finish = await loadLayerNorm(load, 'transformer.ln_f', c.epsilon)
  const head = c.tied ? table : await load.matrix('lm_head.weight')
  return {
    hidden: c.hiddenSize,
    head,
    layers,
    positions: c.maxPositions,
    finish,
    embed(ids, pass) {
      const { batch, seq, past, packed, here } = pass
      const [tokens, places] = [overlaid(embed(ids, matrixIn(pass, table)), pass), matrixIn(pass, positions)]
      const within = packed?.within ?? here
      if (within) return tf.add(tokens, embed(within.device, places))
      // Padding may reach beyond the last position; what stands there is not looked at.
      const at = Int32Array.from({ length: batch * seq }, (_, i) => Math.min(past + (i % seq), c.maxPositions - 1))
      return tf.add(tokens, embed(tf.tensor1d(at, 'int32'), places))
    },
  }
}

export const gpt2: Family<Gpt2Config> = {
  modelTypes: ['gpt2'],
  targets: ['c_attn', 'c_proj', 'c_fc'],
  fanInFanOut: true,
  readConfig,
  plan,
  build,
}
