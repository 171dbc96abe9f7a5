/**
 * How each model family stands in GGUF, after llama.cpp's own converters: architecture, names, numbers, and the order of rows where that
 * differs. Refuses families that are not listed.
 */
import { CodedError } from '../../shared/errors'
import {
  common,
  dimensions,
  f32,
  given,
  headDim,
  heads,
  keyLengths,
  kvHeads,
  numberOf,
  optional,
  rope,
  ropeScaling,
  ropeType,
  u32,
  type Config,
} from './gguf-config'
import type { GgufMetadata } from './gguf-write'

/** A family's rules. */
export interface GgufFamily {
  readonly architecture: string
  readonly metadata: (config: Config) => GgufMetadata
  /** Hugging Face name (of a weight, bias or layer, outer prefix left out) → GGUF name; null for what is not written. */
  readonly name: (name: string) => string | null | undefined
  /** New row → old row of a layer's output, or null where the order stays. */
  readonly rowOrder: (module: string, config: Config) => Int32Array | null
  /** Added to norm weights (Gemma keeps weight - 1). */
  readonly normShift: number
  /** Matrices are stored `[in, out]` (GPT-2). */
  readonly transposed: boolean
  /** What llama.cpp takes for granted about the family and this model does otherwise, or null. */
  readonly differs: (config: Config) => string | null
  /** Small tensors beside the weights. */
  readonly extra: (config: Config) => { name: string; values: Float32Array }[]
}

const OUTER: Readonly<Record<string, string>> = {
  embed_tokens: 'token_embd',
  norm: 'output_norm',
  final_layernorm: 'output_norm',
  lm_head: 'output',
}
const LLAMA: Readonly<Record<string, string>> = {
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'self_attn.q_norm': 'attn_q_norm',
  'self_attn.k_norm': 'attn_k_norm',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
}

/** Names from a table of what stands outside the layers and inside one. */
function naming(
  layers: string,
  outer: Readonly<Record<string, string>>,
  inner: Readonly<Record<string, string>>,
  ignored: RegExp = /rotary_emb\.inv_freq$/,
): GgufFamily['name'] {
  const layer = new RegExp(`^${layers}\\.(\\d+)\\.(.+)$`)
  return (full) => {
    if (ignored.test(full)) return null
    const [, name = full, ending = ''] = /^(.*)(\.weight|\.bias)$/.exec(full) ?? []
    const bare = name.replace(/^(model|transformer|gpt_neox)\./, '')
    const [, number, rest = ''] = layer.exec(bare) ?? []
    const found = number === undefined ? outer[bare] : inner[rest]
    if (found === undefined) return undefined
    return (number === undefined ? found : `blk.${number}.${found}`) + ending
  }
}

/** The other way round for Llama's relatives: GGUF name → Hugging Face name; undefined for what they do not have. */
export function hfNameOf(name: string): string | undefined {
  const [, number, key = '', ending = ''] = /^(?:blk\.(\d+)\.)?([a-z_]+)(\.weight|\.bias)$/.exec(name) ?? []
  const [found] = Object.entries(number === undefined ? OUTER : LLAMA).find(([, target]) => target === key) ?? []
  if (found === undefined) return undefined
  if (number !== undefined) return `model.layers.${number}.${found}${ending}`
  return found === 'lm_head' ? `${found}${ending}` : `model.${found}${ending}`
}

/** Rows of q and k as llama.cpp's rope wants them: the two halves of a head interleaved. */
function interleaved(count: number, size: number): Int32Array {
  const order = new Int32Array(count * size)
  for (let head = 0; head < count; head++)
    for (let half = 0; half < 2; half++)
      for (let i = 0; i < size / 2; i++) order[head * size + i * 2 + half] = head * size + (half * size) / 2 + i
  return order
}
const permuted: GgufFamily['rowOrder'] = (module, config) => {
  if (module.endsWith('.q_proj')) return interleaved(heads(config), headDim(config))
  if (module.endsWith('.k_proj')) return interleaved(kvHeads(config), headDim(config))
  return null
}
/** NeoX keeps q, k and v of each head together; GGUF all q, then all k, then all v. */
const regrouped: GgufFamily['rowOrder'] = (module, config) => {
  if (!module.endsWith('.query_key_value')) return null
  const [count, size] = [heads(config), headDim(config)]
  const order = new Int32Array(3 * count * size)
  for (let part = 0; part < 3; part++)
    for (let head = 0; head < count; head++)
      for (let i = 0; i < size; i++) order[(part * count + head) * size + i] = (head * 3 + part) * size + i
  return order
}

/** Factors of Llama 3's rope, one for each pair of a head's values. */
export function llama3Factors(config: Config): { name: string; values: Float32Array }[] {
  if (ropeType(config) !== 'llama3') return []
  const settings = rope(config)
  const size = headDim(config)
  const base = optional(settings, 'rope_theta') ?? 10_000
  const factor = numberOf(settings, 'factor')
  const low = numberOf(settings, 'low_freq_factor')
  const high = numberOf(settings, 'high_freq_factor')
  const original = numberOf(settings, 'original_max_position_embeddings')
  const values = Float32Array.from({ length: size / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * base ** ((2 * i) / size)
    if (wavelength < original / high) return 1
    if (wavelength > original / low) return factor
    const smooth = (original / wavelength - low) / (high - low)
    return 1 / ((1 - smooth) / factor + smooth)
  })
  return [{ name: 'rope_freqs.weight', values }]
}

/** Phi-3's two lists of factors for long contexts. */
function longFactors(config: Config): { name: string; values: Float32Array }[] {
  const { long_factor: long, short_factor: short } = rope(config)
  if (!Array.isArray(long) || !Array.isArray(short)) return []
  return [
    { name: 'rope_factors_long.weight', values: Float32Array.from(long as number[]) },
    { name: 'rope_factors_short.weight', values: Float32Array.from(short as number[]) },
  ]
}

function family(architecture: string, change: Partial<GgufFamily> = {}): GgufFamily {
  return {
    architecture,
    metadata: (config) => [...common(config), ...dimensions(config), ...ropeScaling(config)],
    name: naming('layers', OUTER, LLAMA),
    rowOrder: () => null,
    normShift: 0,
    transposed: false,
    differs: () => null,
    extra: () => [],
    ...change,
  }
}

const llama = (architecture: string) => family(architecture, { rowOrder: permuted, extra: llama3Factors })
/** Gemma alternates windows in a fixed order, and scales scores by the head's size (the largest models by another one). */
function gemmaDiffers(config: Config, every: number): string | null {
  const types = config.layer_types
  const odd = Array.isArray(types) && types.some((type, i) => (type === 'full_attention') !== ((i + 1) % every === 0))
  if (odd) return 'layer_types'
  const scalar = optional(config, 'query_pre_attn_scalar')
  const usual = [headDim(config), numberOf(config, 'hidden_size') / heads(config)]
  return scalar !== undefined && !usual.includes(scalar) ? 'query_pre_attn_scalar' : null
}
const gemma = (architecture: string, every: number) =>
  family(architecture, {
    normShift: 1,
    differs: (config) => gemmaDiffers(config, every),
    metadata: (config) => [
      ...common(config),
      ...keyLengths(config),
      ...ropeScaling(config),
      ...given(config, {
        attn_logit_softcapping: 'attn_logit_softcapping',
        final_logit_softcapping: 'final_logit_softcapping',
        'attention.sliding_window': 'sliding_window',
      }),
    ],
    // The head is always the embedding.
    name: naming(
      'layers',
      OUTER,
      {
        ...LLAMA,
        post_attention_layernorm: 'post_attention_norm',
        pre_feedforward_layernorm: 'ffn_norm',
        post_feedforward_layernorm: 'post_ffw_norm',
      },
      /rotary_emb\.inv_freq$|^lm_head\./,
    ),
  })
const withHeadDim = (config: Config): GgufMetadata => [
  ...common(config),
  ...dimensions(config),
  ...(optional(config, 'head_dim') === undefined ? [] : keyLengths(config)),
  ...ropeScaling(config),
]

/** Part of a head that rope turns. */
const rotary = (config: Config): GgufMetadata => {
  const share = optional(rope(config), 'partial_rotary_factor') ?? optional(config, 'rotary_pct') ?? 1
  return [['rope.dimension_count', u32(Math.floor(share * headDim(config)))]]
}

const FAMILIES: Readonly<Record<string, GgufFamily>> = {
  llama: { ...llama('llama'), metadata: withHeadDim },
  mistral: { ...llama('llama'), metadata: withHeadDim },
  smollm3: {
    ...llama('smollm3'),
    metadata: withHeadDim,
    differs: (config) => ((optional(config, 'no_rope_layer_interval') ?? 4) === 4 ? null : 'no_rope_layer_interval'),
  },
  granite: {
    ...llama('granite'),
    metadata: (config) => [
      ...common(config),
      ...dimensions(config),
      ...given(config, {
        'attention.scale': 'attention_multiplier',
        embedding_scale: 'embedding_multiplier',
        residual_scale: 'residual_multiplier',
        logit_scale: 'logits_scaling',
      }),
    ],
  },
  qwen2: family('qwen2', { metadata: withHeadDim }),
  qwen3: family('qwen3', { metadata: withHeadDim }),
  gemma2: gemma('gemma2', 2),
  gemma3_text: gemma('gemma3', 6),
  olmo2: family('olmo2', {
    name: naming('layers', OUTER, {
      ...LLAMA,
      post_attention_layernorm: 'post_attention_norm',
      post_feedforward_layernorm: 'post_ffw_norm',
    }),
  }),
  phi: family('phi2', {
    metadata: (config) => [...common(config), ...rotary(config)],
    name: naming('layers', OUTER, {
      ...LLAMA,
      'self_attn.dense': 'attn_output',
      'mlp.fc1': 'ffn_up',
      'mlp.fc2': 'ffn_down',
    }),
  }),
  phi3: family('phi3', {
    metadata: (config) => [
      ...common(config),
      ...rotary(config),
      [
        'rope.scaling.original_context_length',
        u32(optional(config, 'original_max_position_embeddings') ?? numberOf(config, 'max_position_embeddings')),
      ],
      ['attention.sliding_window', u32(optional(config, 'sliding_window') ?? 0)],
      ...phi3Attention(config),
    ],
    name: naming('layers', OUTER, { ...LLAMA, 'self_attn.qkv_proj': 'attn_qkv', 'mlp.gate_up_proj': 'ffn_up' }),
    extra: longFactors,
  }),
  gpt2: family('gpt2', {
    transposed: true,
    metadata: common,
    name: naming(
      'h',
      { wte: 'token_embd', wpe: 'position_embd', ln_f: 'output_norm', lm_head: 'output' },
      {
        ln_1: 'attn_norm',
        'attn.c_attn': 'attn_qkv',
        'attn.c_proj': 'attn_output',
        ln_2: 'ffn_norm',
        'mlp.c_fc': 'ffn_up',
        'mlp.c_proj': 'ffn_down',
      },
      /\.attn\.(bias|masked_bias)$/,
    ),
  }),
  gpt_neox: family('gptneox', {
    metadata: (config) => [
      ...common(config),
      ...rotary(config),
      ['use_parallel_residual', { type: 'bool', value: config.use_parallel_residual !== false }],
    ],
    rowOrder: regrouped,
    name: naming(
      'layers',
      { embed_in: 'token_embd', final_layer_norm: 'output_norm', embed_out: 'output' },
      {
        input_layernorm: 'attn_norm',
        post_attention_layernorm: 'ffn_norm',
        'attention.query_key_value': 'attn_qkv',
        'attention.dense': 'attn_output',
        'mlp.dense_h_to_4h': 'ffn_up',
        'mlp.dense_4h_to_h': 'ffn_down',
      },
      /\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)$/,
    ),
  }),
}

/** Longer contexts make Phi-3's attention sharper by this. */
function phi3Attention(config: Config): GgufMetadata {
  if (longFactors(config).length === 0) return []
  const longest = numberOf(config, 'max_position_embeddings')
  const original = optional(config, 'original_max_position_embeddings') ?? longest
  const scale = longest / original
  const factor = scale > 1 ? Math.sqrt(1 + Math.log(scale) / Math.log(original)) : 1
  return [['rope.scaling.attn_factor', f32(factor)]]
}

/** The rules for a model. Throws CodedError `model.unsupported`. */
export function ggufFamily(config: Config): GgufFamily {
  const type = String(config.model_type)
  const found = Object.hasOwn(FAMILIES, type) ? FAMILIES[type] : undefined
  if (!found)
    throw new CodedError('model.unsupported', `GGUF files of the family "${type}" cannot be written.`, {
      where: 'config.json, model_type',
      fix: `Export the merged model instead. GGUF works for ${Object.keys(FAMILIES).join(', ')}.`,
    })
  const different = found.differs(config)
  if (different)
    throw new CodedError(
      'model.unsupported',
      `llama.cpp computes this model differently: it does not know its ${different}.`,
      {
        where: `config.json, ${different}`,
        fix: 'Export the merged model instead.',
      },
    )
  return found
}
