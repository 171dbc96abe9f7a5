/**
 * Numbers of config.json as GGUF metadata, wherever a version of transformers keeps them. Refuses to know families.
 */
import { CodedError } from '../../shared/errors'
import type { GgufMetadata, GgufValue } from './gguf-write'

/** config.json. */
export type Config = Record<string, unknown>

/** A whole number on disk. */
export const u32 = (value: number): GgufValue => ({ type: 'u32', value })
/** A real number on disk. */
export const f32 = (value: number): GgufValue => ({ type: 'f32', value })

/** A number of config.json under one of its names. Throws `model.config` where it is missing. */
export function numberOf(config: Config, ...names: string[]): number {
  const value = optional(config, ...names)
  if (value === undefined)
    throw new CodedError('model.config', `config.json has no ${names[0]}.`, {
      where: 'config.json',
      fix: 'Take config.json from the place that the weights came from.',
    })
  return value
}
/** A number of config.json under one of its names, or undefined. */
export function optional(config: Config, ...names: string[]): number | undefined {
  for (const name of names) if (typeof config[name] === 'number') return config[name]
  return undefined
}

/** Attention heads. */
export const heads = (config: Config) => numberOf(config, 'num_attention_heads', 'n_head')
/** Heads of keys and values. */
export const kvHeads = (config: Config) => optional(config, 'num_key_value_heads') ?? heads(config)
/** Values of a head. */
export const headDim = (config: Config) =>
  optional(config, 'head_dim') ?? numberOf(config, 'hidden_size', 'n_embd') / heads(config)

/** Rope settings, wherever this version of transformers keeps them. */
export function rope(config: Config): Config {
  const parameters = (config.rope_parameters ?? {}) as Config
  const inner = (parameters.full_attention ?? parameters) as Config
  const scaling = (config.rope_scaling ?? {}) as Config
  return { rope_theta: config.rope_theta, partial_rotary_factor: config.partial_rotary_factor, ...scaling, ...inner }
}
/** Name of the rope scaling; "default" is none. */
export const ropeType = (config: Config) => String(rope(config).rope_type ?? rope(config).type ?? 'default')

/** Scalings that GGUF states as numbers; Llama 3's and Phi-3's are tensors. */
export function ropeScaling(config: Config): GgufMetadata {
  const settings = rope(config)
  const type = ropeType(config)
  if (type !== 'linear' && type !== 'yarn') return []
  const original =
    optional(settings, 'original_max_position_embeddings') ?? optional(config, 'original_max_position_embeddings')
  return [
    ['rope.scaling.type', { type: 'string', value: type }],
    ['rope.scaling.factor', f32(numberOf(settings, 'factor'))],
    ...(type === 'yarn' && original !== undefined
      ? [['rope.scaling.original_context_length', u32(original)] as const]
      : []),
  ]
}

/** What nearly all families have. */
export function common(config: Config): GgufMetadata {
  const rms = optional(config, 'rms_norm_eps')
  const epsilon = optional(config, 'layer_norm_eps', 'layer_norm_epsilon')
  const theta = optional(rope(config), 'rope_theta')
  return [
    ['block_count', u32(numberOf(config, 'num_hidden_layers', 'n_layer'))],
    ['context_length', u32(numberOf(config, 'max_position_embeddings', 'n_positions', 'n_ctx'))],
    ['embedding_length', u32(numberOf(config, 'hidden_size', 'n_embd'))],
    [
      'feed_forward_length',
      u32(optional(config, 'intermediate_size', 'n_inner') ?? 4 * numberOf(config, 'n_embd', 'hidden_size')),
    ],
    ['attention.head_count', u32(heads(config))],
    ['attention.head_count_kv', u32(kvHeads(config))],
    ...(rms === undefined ? [] : [['attention.layer_norm_rms_epsilon', f32(rms)] as const]),
    ...(epsilon === undefined ? [] : [['attention.layer_norm_epsilon', f32(epsilon)] as const]),
    ...(theta === undefined ? [] : [['rope.freq_base', f32(theta)] as const]),
    ['vocab_size', u32(numberOf(config, 'vocab_size'))],
  ]
}
/** Rope turns whole heads. */
export const dimensions = (config: Config): GgufMetadata => [['rope.dimension_count', u32(headDim(config))]]
/** Heads of a size of their own. */
export const keyLengths = (config: Config): GgufMetadata => [
  ['attention.key_length', u32(headDim(config))],
  ['attention.value_length', u32(headDim(config))],
]
/** Fields that are written only where config.json has them. */
export const given = (config: Config, fields: Readonly<Record<string, string>>): GgufMetadata =>
  Object.entries(fields).flatMap(([key, name]) => {
    const value = optional(config, name)
    return value ? [[key, key === 'attention.sliding_window' ? u32(value) : f32(value)] as const] : []
  })
