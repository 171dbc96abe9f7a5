/** Llama (1 to 3, SmolLM, TinyStories …): RMSNorm, rope with all its scalings, grouped heads, SwiGLU, tied or untied head. */
import { attentionLinears, selfAttention } from '../nn/attention'
import type { SelfAttentionParts } from '../nn/attention'
import { gatedMlp, mlpLinears } from '../nn/mlp'
import type { GatedMlpParts } from '../nn/mlp'
import { matrixIn, vectorIn } from '../nn/network'
import type { RopeConfig, RopeTables } from '../nn/rope'
import type { StackLayer, StackParts } from '../nn/stack'
import { overlaid } from '../nn/virtual'
import { embed, rmsNorm } from '../ops'
import { tf } from '../tf'
import type { BaseConfig, ConfigReader } from './config'
import { readBase, readRope } from './config'
import type { Family } from './family'
import type { WeightLoader, WeightPlan } from './weights'
import { PlanBuilder } from './weights'

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
  /** Factors of the embedded tokens, of the scores, of what a block adds, and of what the head takes (Granite). */
  readonly embeddingScale: number
  readonly scoreScale: number
  readonly residualScale: number
  readonly headScale: number
}

export const LLAMA_TARGETS = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'] as const

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
    embeddingScale: 1,
    scoreScale: 1 / Math.sqrt(base.headDim),
    residualScale: 1,
    headScale: 1,
    ...own,
    tied: base.tied,
  }
}

type Biases = Pick<LlamaConfig, 'qkvBias' | 'outputBias' | 'mlpBias'>

/** Every tensor of a Llama-like checkpoint whose layers have these norms. */
export function llamaPlan(
  c: BaseConfig & Pick<LlamaConfig, 'headNorm'> & Partial<Biases>,
  norms: readonly string[] = ['input_layernorm', 'post_attention_layernorm'],
): WeightPlan {
  const [q, kv] = [c.heads * c.headDim, c.kvHeads * c.headDim]
  const plan = new PlanBuilder()
  plan.embeddingAndHead('model.embed_tokens', 'lm_head', c)
  plan.vector('model.norm.weight', c.hiddenSize)
  for (let i = 0; i < c.layers; i++) {
    const at = `model.layers.${i}`
    for (const norm of norms) plan.vector(`${at}.${norm}.weight`, c.hiddenSize)
    plan.linear(`${at}.self_attn.q_proj`, q, c.hiddenSize, c.qkvBias)
    plan.linear(`${at}.self_attn.k_proj`, kv, c.hiddenSize, c.qkvBias)
    plan.linear(`${at}.self_attn.v_proj`, kv, c.hiddenSize, c.qkvBias)
    plan.linear(`${at}.self_attn.o_proj`, c.hiddenSize, q, c.outputBias)
    plan.linear(`${at}.mlp.gate_proj`, c.intermediateSize, c.hiddenSize, c.mlpBias)
    plan.linear(`${at}.mlp.up_proj`, c.intermediateSize, c.hiddenSize, c.mlpBias)
    plan.linear(`${at}.mlp.down_proj`, c.hiddenSize, c.intermediateSize, c.mlpBias)
    if (!c.headNorm) continue
    plan.vector(`${at}.self_attn.q_norm.weight`, c.headDim)
    plan.vector(`${at}.self_attn.k_norm.weight`, c.headDim)
  }
  return plan.done()
}

type Attending = Pick<LlamaConfig, 'scoreScale' | 'windows' | 'headNorm' | 'epsilon'> & { hasRope?: readonly boolean[] }

/** Attention of a layer with Llama's names. */
export async function llamaAttention(
  c: BaseConfig & Attending,
  i: number,
  rope: RopeTables,
  load: WeightLoader,
  normShift = 0,
): Promise<SelfAttentionParts> {
  const at = `model.layers.${i}.self_attn`
  const window = c.windows[i]
  return {
    layer: i,
    heads: c.heads,
    kvHeads: c.kvHeads,
    headDim: c.headDim,
    scale: c.scoreScale,
    rope: c.hasRope?.[i] === false ? null : rope,
    ...(window === undefined ? {} : { window }),
    ...(c.headNorm
      ? {
          norm: {
            over: 'head',
            query: await load.vector(`${at}.q_norm.weight`, normShift),
            key: await load.vector(`${at}.k_norm.weight`, normShift),
            epsilon: c.epsilon,
          },
        }
      : {}),
    project: {
      query: await load.linear(`${at}.q_proj`, i),
      key: await load.linear(`${at}.k_proj`, i),
      value: await load.linear(`${at}.v_proj`, i),
    },
    output: await load.linear(`${at}.o_proj`, i),
  }
}

/** The gated feed-forward block of a layer with Llama's names. */
export async function llamaMlp(
  i: number,
  load: WeightLoader,
  activation: GatedMlpParts['activation'],
): Promise<GatedMlpParts> {
  const at = `model.layers.${i}.mlp`
  return {
    activation,
    project: { gate: await load.linear(`${at}.gate_proj`, i), up: await load.linear(`${at}.up_proj`, i) },
    down: await load.linear(`${at}.down_proj`, i),
  }
}

/** Norm, attention, add; norm, feed-forward, add. */
export function preNormLayer(
  attention: SelfAttentionParts,
  mlp: GatedMlpParts,
  norms: { input: tf.Tensor1D; post: tf.Tensor1D },
  c: Pick<LlamaConfig, 'epsilon' | 'residualScale'>,
): StackLayer {
  const onto = (x: tf.Tensor2D, block: (plus: tf.Tensor2D | null) => tf.Tensor2D): tf.Tensor2D =>
    c.residualScale === 1 ? block(x) : tf.add(x, tf.mul(block(null), c.residualScale))
  return {
    linears: [...attentionLinears(attention), ...mlpLinears(mlp)],
    forward(x, pass) {
      const normal = (of: tf.Tensor2D, weight: tf.Tensor1D): tf.Tensor2D =>
        rmsNorm(of, vectorIn(pass, weight), c.epsilon)
      const middle = onto(x, (plus) => selfAttention(normal(x, norms.input), attention, pass, plus))
      return onto(middle, (plus) => gatedMlp(normal(middle, norms.post), mlp, pass, plus))
    },
  }
}

/**
 * Embedding, last norm and head with Llama's names around a family's layers. Where transformers scales inside the embedding, as Gemma's does,
 * what is put in place of tokens is not scaled (`scalesPrompt: false`).
 */
export async function llamaStack(
  c: Pick<LlamaConfig, 'hiddenSize' | 'epsilon' | 'tied' | 'embeddingScale' | 'headScale'> & { scalesPrompt?: false },
  layers: readonly StackLayer[],
  load: WeightLoader,
  normShift = 0,
): Promise<StackParts> {
  const table = await load.matrix('model.embed_tokens.weight')
  const norm = await load.vector('model.norm.weight', normShift)
  const head = c.tied ? table : await load.matrix('lm_head.weight')
  const times = (x: tf.Tensor2D, factor: number): tf.Tensor2D => (factor === 1 ? x : tf.mul(x, factor))
  return {
    hidden: c.hiddenSize,
    head,
    layers,
    embed(ids, pass) {
      const tokens = embed(ids, matrixIn(pass, table))
      return c.scalesPrompt === false
        ? overlaid(times(tokens, c.embeddingScale), pass)
        : times(overlaid(tokens, pass), c.embeddingScale)
    },
    finish: (x, pass) => times(rmsNorm(x, vectorIn(pass, norm), c.epsilon), c.headScale),
  }
}

/** The parts of a network of pre-norm layers from a Llama-like checkpoint. */
export async function buildLlamaLike(c: LlamaConfig, load: WeightLoader): Promise<StackParts> {
  const rope = load.rope(c.rope)
  const layers: StackLayer[] = []
  for (let i = 0; i < c.layers; i++) {
    const at = `model.layers.${i}`
    const norms = {
      input: await load.vector(`${at}.input_layernorm.weight`),
      post: await load.vector(`${at}.post_attention_layernorm.weight`),
    }
    layers.push(preNormLayer(await llamaAttention(c, i, rope, load), await llamaMlp(i, load, 'silu'), norms, c))
  }
  return llamaStack(c, layers, load)
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
