/**
 * Gemma 2 and Gemma 3 (text): norms of weight 1 + w before and after each block, GEGLU, scaled embeddings, windows in some layers;
 * Gemma 2 caps scores and logits, Gemma 3 norms queries and keys and has a rope of its own in windowed layers.
 */
import { attentionLinears, selfAttention } from '../nn/attention'
import { gatedMlp, mlpLinears } from '../nn/mlp'
import type { GatedMlpParts } from '../nn/mlp'
import { vectorIn, type Pass } from '../nn/network'
import type { RopeConfig, RopeTables } from '../nn/rope'
import type { StackLayer, StackParts } from '../nn/stack'
import { rmsNorm } from '../ops'
import { tf } from '../tf'
import type { BaseConfig, ConfigReader } from './config'
import { readBase, readRope } from './config'
import type { Family } from './family'
import { LLAMA_TARGETS, llamaAttention, llamaMlp, llamaPlan, llamaStack } from './llama'
import type { WeightLoader } from './weights'

interface GemmaConfig extends BaseConfig {
  readonly epsilon: number
  readonly activation: GatedMlpParts['activation']
  readonly rope: RopeConfig
  /** Rope of windowed layers; the other one where undefined. */
  readonly localRope?: RopeConfig
  readonly windows: readonly (number | undefined)[]
  readonly scoreScale: number
  readonly headNorm: boolean
  readonly scoreCap?: number
  readonly logitCap?: number
}

const NORMS = [
  'input_layernorm',
  'post_attention_layernorm',
  'pre_feedforward_layernorm',
  'post_feedforward_layernorm',
] as const

/** Windows by `layer_types`, else in all layers but every `pattern`-th. */
function readWindows(config: ConfigReader, layers: number, pattern: number): (number | undefined)[] {
  const types = config.strings('layer_types')
  if (types && types.length !== layers) config.problem(`layer_types has ${types.length} entries for ${layers} layers.`)
  const window = config.integer('sliding_window', 4096)
  const isLocal = (i: number): boolean => (types ? types[i] === 'sliding_attention' : (i + 1) % pattern !== 0)
  return Array.from({ length: layers }, (_, i) => (isLocal(i) ? window : undefined))
}

function readGemma(config: ConfigReader, modelType: string, pattern: number): GemmaConfig {
  const base = { ...readBase(config, modelType, true), headDim: config.integer('head_dim', 256) }
  const name = config.has('hidden_activation') ? 'hidden_activation' : 'hidden_act'
  config.choice(name, ['gelu_pytorch_tanh', 'gelu'], 'gelu_pytorch_tanh')
  config.require('attention_bias', false)
  if (config.raw('use_bidirectional_attention') === true) config.problem('use_bidirectional_attention is true.')
  return {
    ...base,
    epsilon: config.number('rms_norm_eps', 1e-6, 0),
    // Gemma's files say "gelu" in older configs and mean the tanh form.
    activation: 'gelu_tanh',
    rope: readRope(config, base, base.headDim),
    windows: readWindows(config, base.layers, pattern),
    scoreScale: 1 / Math.sqrt(config.number('query_pre_attn_scalar', 256, 0)),
    headNorm: false,
  }
}

async function buildLayer(c: GemmaConfig, i: number, rope: RopeTables, load: WeightLoader): Promise<StackLayer> {
  const vectors: tf.Tensor1D[] = []
  for (const name of NORMS) vectors.push(await load.vector(`model.layers.${i}.${name}.weight`, 1))
  const norm = (x: tf.Tensor2D, which: 0 | 1 | 2 | 3, pass: Pass): tf.Tensor2D =>
    rmsNorm(x, vectorIn(pass, vectors[which] as tf.Tensor1D), c.epsilon)
  const cap = c.scoreCap === undefined ? {} : { cap: c.scoreCap }
  const attention = { ...(await llamaAttention(c, i, rope, load, 1)), ...cap }
  const mlp = await llamaMlp(i, load, c.activation)
  return {
    linears: [...attentionLinears(attention), ...mlpLinears(mlp)],
    forward(x, pass) {
      const middle = tf.add(x, norm(selfAttention(norm(x, 0, pass), attention, pass), 1, pass)) as tf.Tensor2D
      return tf.add(middle, norm(gatedMlp(norm(middle, 2, pass), mlp, pass), 3, pass))
    },
  }
}

async function build(c: GemmaConfig, load: WeightLoader): Promise<StackParts> {
  const rope = load.rope(c.rope)
  const local = c.localRope ? load.rope(c.localRope) : rope
  const layers: StackLayer[] = []
  for (let i = 0; i < c.layers; i++)
    layers.push(await buildLayer(c, i, c.windows[i] === undefined ? rope : local, load))
  const scales = {
    ...c,
    embeddingScale: Math.fround(Math.sqrt(c.hiddenSize)),
    headScale: 1,
    scalesPrompt: false as const,
  }
  const parts = await llamaStack(scales, layers, load, 1)
  return c.logitCap === undefined ? parts : { ...parts, logitCap: c.logitCap }
}

/** A cap that is on unless the config says null. */
function readCap(config: ConfigReader, name: string, fallback: number): { value?: number } {
  if (config.raw(name) === null) return {}
  return { value: config.number(name, fallback, 0) }
}

export const gemma2: Family<GemmaConfig> = {
  modelTypes: ['gemma2'],
  targets: LLAMA_TARGETS,
  readConfig(config, modelType) {
    const scoreCap = readCap(config, 'attn_logit_softcapping', 50).value
    const logitCap = readCap(config, 'final_logit_softcapping', 30).value
    return {
      ...readGemma(config, modelType, 2),
      ...(scoreCap === undefined ? {} : { scoreCap }),
      ...(logitCap === undefined ? {} : { logitCap }),
    }
  },
  plan: (c) => llamaPlan(c, NORMS),
  build,
}

export const gemma3: Family<GemmaConfig> = {
  modelTypes: ['gemma3_text'],
  targets: LLAMA_TARGETS,
  readConfig(config, modelType) {
    for (const cap of ['attn_logit_softcapping', 'final_logit_softcapping']) {
      if (typeof config.raw(cap) === 'number') config.problem(`${cap} is not supported in Gemma 3.`)
    }
    const read = { ...readGemma(config, modelType, config.integer('sliding_window_pattern', 6)), headNorm: true }
    const parameters = config.object('rope_parameters')
    const [full, local] = [parameters?.object('full_attention'), parameters?.object('sliding_attention')]
    if (full && local) {
      return {
        ...read,
        rope: readRope(config, read, read.headDim, { from: full, theta: 1_000_000 }),
        localRope: readRope(config, read, read.headDim, { from: local, theta: 10_000 }),
      }
    }
    const localRope: RopeConfig = {
      type: 'default',
      theta: config.number('rope_local_base_freq', 10_000, 0),
      dim: read.headDim,
      maxPositions: read.maxPositions,
      factor: 1,
    }
    return { ...read, rope: readRope(config, read, read.headDim, { theta: 1_000_000 }), localRope }
  },
  plan: (c) => llamaPlan(c, NORMS),
  build,
}
