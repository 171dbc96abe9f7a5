/** Llama (1 to 3, SmolLM, TinyStories …): RMSNorm, rope with all its scalings, grouped heads, SwiGLU, tied or untied head. */
import type { RopeConfig } from '../nn/rope'
import { RopeTables } from '../nn/rope'
import { Decoder } from '../nn/decoder'
import type { DecoderLayer } from '../nn/decoder'
import type { Network } from '../nn/network'
import type { BaseConfig, ConfigReader } from './config'
import { readBase, readRope } from './config'
import type { Family } from './family'
import type { WeightLoader, WeightPlan, WeightSpec } from './weights'

/** A config of Llama and of the families that differ from it by little. */
export interface LlamaConfig extends BaseConfig {
  readonly epsilon: number
  readonly rope: RopeConfig
  /** Biases of queries, keys and values; of the output projection; of the feed-forward block. */
  readonly qkvBias: boolean
  readonly outputBias: boolean
  readonly mlpBias: boolean
  /** Norm weights over each head of queries and keys (Qwen3). */
  readonly headNorm: boolean
  /** Sliding window of each layer; undefined sees everything. */
  readonly windows: readonly (number | undefined)[]
  /** Whether a layer has positions. */
  readonly hasRope: readonly boolean[]
}

export const LLAMA_TARGETS = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'] as const

/** Buffers that old checkpoints carry. */
const IGNORE = [/\.rotary_emb\.inv_freq$/]

/** What Llama's relatives read alike; each overrides what it has of its own. */
export function readLlamaLike(
  config: ConfigReader,
  modelType: string,
  { theta, ...own }: Partial<LlamaConfig> & { theta?: number } = {},
): LlamaConfig {
  const base = readBase(config, modelType, own.tied ?? false)
  config.choice('hidden_act', ['silu', 'swish'], 'silu')
  const every = <T>(value: T): T[] => new Array<T>(base.layers).fill(value)
  return {
    ...base,
    epsilon: config.number('rms_norm_eps', 1e-6, 0),
    rope: readRope(config, base, base.headDim, theta === undefined ? {} : { theta }),
    qkvBias: false,
    outputBias: false,
    mlpBias: false,
    headNorm: false,
    windows: every(undefined),
    hasRope: every(true),
    ...own,
    tied: base.tied,
  }
}

/** Every tensor of a Llama-like checkpoint. */
export function llamaPlan(c: LlamaConfig): WeightPlan {
  const [q, kv] = [c.heads * c.headDim, c.kvHeads * c.headDim]
  const specs: WeightSpec[] = [
    { name: 'model.embed_tokens.weight', shape: [c.vocabulary, c.hiddenSize], ...(c.tied ? { aliases: ['lm_head.weight'] } : {}) }, // prettier-ignore
    { name: 'model.norm.weight', shape: [c.hiddenSize] },
  ]
  if (!c.tied) specs.push({ name: 'lm_head.weight', shape: [c.vocabulary, c.hiddenSize] })
  const linear = (module: string, out: number, inn: number, bias: boolean): void => {
    specs.push({ name: `${module}.weight`, shape: [out, inn] })
    if (bias) specs.push({ name: `${module}.bias`, shape: [out] })
  }
  for (let i = 0; i < c.layers; i++) {
    const at = `model.layers.${i}`
    specs.push({ name: `${at}.input_layernorm.weight`, shape: [c.hiddenSize] })
    specs.push({ name: `${at}.post_attention_layernorm.weight`, shape: [c.hiddenSize] })
    linear(`${at}.self_attn.q_proj`, q, c.hiddenSize, c.qkvBias)
    linear(`${at}.self_attn.k_proj`, kv, c.hiddenSize, c.qkvBias)
    linear(`${at}.self_attn.v_proj`, kv, c.hiddenSize, c.qkvBias)
    linear(`${at}.self_attn.o_proj`, c.hiddenSize, q, c.outputBias)
    linear(`${at}.mlp.gate_proj`, c.intermediateSize, c.hiddenSize, c.mlpBias)
    linear(`${at}.mlp.up_proj`, c.intermediateSize, c.hiddenSize, c.mlpBias)
    linear(`${at}.mlp.down_proj`, c.hiddenSize, c.intermediateSize, c.mlpBias)
    if (c.headNorm)
      for (const norm of ['q_norm', 'k_norm'])
        specs.push({ name: `${at}.self_attn.${norm}.weight`, shape: [c.headDim] })
  }
  return { specs, ignore: IGNORE }
}

async function buildLayer(c: LlamaConfig, i: number, rope: RopeTables, load: WeightLoader): Promise<DecoderLayer> {
  const at = `model.layers.${i}`
  const linear = (name: string): ReturnType<WeightLoader['linear']> => load.linear(`${at}.${name}`, i)
  const norms = {
    input: await load.vector(`${at}.input_layernorm.weight`),
    post: await load.vector(`${at}.post_attention_layernorm.weight`),
  }
  const norm = c.headNorm
    ? {
        over: 'head' as const,
        query: await load.vector(`${at}.self_attn.q_norm.weight`),
        key: await load.vector(`${at}.self_attn.k_norm.weight`),
        epsilon: c.epsilon,
      }
    : null
  const window = c.windows[i]
  return {
    norms,
    attention: {
      layer: i,
      heads: c.heads,
      kvHeads: c.kvHeads,
      headDim: c.headDim,
      scale: 1 / Math.sqrt(c.headDim),
      rope: c.hasRope[i] === false ? null : rope,
      ...(window === undefined ? {} : { window }),
      norm,
      project: {
        query: await linear('self_attn.q_proj'),
        key: await linear('self_attn.k_proj'),
        value: await linear('self_attn.v_proj'),
      },
      output: await linear('self_attn.o_proj'),
    },
    mlp: {
      activation: 'silu',
      project: { gate: await linear('mlp.gate_proj'), up: await linear('mlp.up_proj') },
      down: await linear('mlp.down_proj'),
    },
  }
}

/** Builds a network of pre-norm layers from a Llama-like checkpoint. */
export async function buildLlamaLike(c: LlamaConfig, load: WeightLoader): Promise<Network> {
  const rope = new RopeTables(c.rope)
  const embedding = await load.matrix('model.embed_tokens.weight')
  const layers: DecoderLayer[] = []
  for (let i = 0; i < c.layers; i++) layers.push(await buildLayer(c, i, rope, load))
  const finalNorm = await load.vector('model.norm.weight')
  const head = c.tied ? embedding : await load.matrix('lm_head.weight')
  return new Decoder({ hidden: c.hiddenSize, epsilon: c.epsilon, embedding, head, finalNorm, layers, ropes: [rope] })
}

export const llama: Family<LlamaConfig> = {
  modelTypes: ['llama'],
  targets: LLAMA_TARGETS,
  readConfig(config, modelType) {
    const bias = config.boolean('attention_bias', false)
    return readLlamaLike(config, modelType, {
      qkvBias: bias,
      outputBias: bias,
      mlpBias: config.boolean('mlp_bias', false),
    })
  },
  plan: llamaPlan,
  build: buildLlamaLike,
}
