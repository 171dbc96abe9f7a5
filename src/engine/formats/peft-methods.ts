/**
 * adapter_config.json of the methods beside LoRA: (IA)³, prompt tuning and prefix tuning as PEFT writes them, and bottleneck adapters, which
 * PEFT lacks, in a form of our own. Refuses variants that compute something else.
 */
import { CodedError } from '../../shared/errors'
import { ADAPTER_CONFIG, isEmpty, size, targets, text, wrong } from './peft-fields'

interface Common {
  task_type: string | null
  base_model_name_or_path: string | null
  inference_mode: boolean
}

/** Liu et al. 2022: `ia3_l` is `[1, in]` where it stands before a layer (those of `feedforward_modules`), else `[out, 1]`. */
export interface Ia3Config extends Common {
  peft_type: 'IA3'
  target_modules: string[] | string | null
  feedforward_modules: string[] | string | null
  fan_in_fan_out: boolean
  init_ia3_weights: boolean
  modules_to_save: null
}

export interface VirtualConfig extends Common {
  num_virtual_tokens: number
  /** Width of a virtual token: of the hidden states, or of all keys of a layer. */
  token_dim: number
  num_layers: number
  num_attention_heads: number
  num_transformer_submodules: 1
}

/** Lester et al. 2021: `prompt_embeddings` `[tokens, hidden]`. */
export interface PromptConfig extends VirtualConfig {
  peft_type: 'PROMPT_TUNING'
  prompt_tuning_init: 'RANDOM'
}

/** Li and Liang 2021: `prompt_embeddings` `[tokens, layers · 2 · heads · dim]`, keys before values in each layer. */
export interface PrefixConfig extends VirtualConfig {
  peft_type: 'PREFIX_TUNING'
  prefix_projection: false
  encoder_hidden_size: number
}

/** Houlsby et al. 2019: `adapter_down` and `adapter_up` after the layers named, each with weight `[out, in]` and bias. */
export interface BottleneckConfig extends Common {
  peft_type: 'FINETAB_BOTTLENECK'
  bottleneck_size: number
  non_linearity: 'gelu'
  target_modules: string[]
}

export type MethodConfig = Ia3Config | PromptConfig | PrefixConfig | BottleneckConfig

function unsupported(what: string, field: string): CodedError {
  return new CodedError('adapter.unsupported', what, {
    where: `${ADAPTER_CONFIG}, ${field}`,
    fix: 'Train it again without that, or use it with PEFT.',
  })
}

/** The settings of a method of this file; null where it is none of them. Throws CodedError `adapter.unsupported`, `adapter.mismatch`. */
export function parseMethodConfig(json: Record<string, unknown>): MethodConfig | null {
  const read = { IA3: ia3, PROMPT_TUNING: prompt, PREFIX_TUNING: prefix, FINETAB_BOTTLENECK: bottleneck }[
    String(json.peft_type)
  ]
  if (!read) return null
  if (!isEmpty(json.modules_to_save))
    throw unsupported('The adapter also trained whole modules, which is not supported.', 'modules_to_save')
  return read(json)
}

function common(json: Record<string, unknown>): Common {
  return {
    task_type: text(json.task_type),
    base_model_name_or_path: text(json.base_model_name_or_path),
    inference_mode: json.inference_mode !== false,
  }
}

function ia3(json: Record<string, unknown>): Ia3Config {
  return {
    peft_type: 'IA3',
    ...common(json),
    target_modules: targets(json.target_modules),
    feedforward_modules: targets(json.feedforward_modules, 'feedforward_modules'),
    fan_in_fan_out: json.fan_in_fan_out === true,
    init_ia3_weights: json.init_ia3_weights !== false,
    modules_to_save: null,
  }
}

function virtual(json: Record<string, unknown>): VirtualConfig {
  const submodules = json.num_transformer_submodules ?? 1
  if (submodules !== 1)
    throw unsupported('The adapter is for a model of several transformers.', 'num_transformer_submodules')
  return {
    ...common(json),
    num_virtual_tokens: size(json, 'num_virtual_tokens'),
    token_dim: size(json, 'token_dim'),
    num_layers: size(json, 'num_layers'),
    num_attention_heads: size(json, 'num_attention_heads'),
    num_transformer_submodules: 1,
  }
}

function prompt(json: Record<string, unknown>): PromptConfig {
  return { peft_type: 'PROMPT_TUNING', ...virtual(json), prompt_tuning_init: 'RANDOM' }
}

function prefix(json: Record<string, unknown>): PrefixConfig {
  // With a projection PEFT still stores what comes out of it, and reads that back.
  return {
    peft_type: 'PREFIX_TUNING',
    ...virtual(json),
    prefix_projection: false,
    encoder_hidden_size: size({ encoder_hidden_size: json.token_dim, ...json }, 'encoder_hidden_size'),
  }
}

function bottleneck(json: Record<string, unknown>): BottleneckConfig {
  if (json.non_linearity !== 'gelu')
    throw unsupported(`The activation ${String(json.non_linearity)} is not supported.`, 'non_linearity')
  const names = targets(json.target_modules)
  if (!Array.isArray(names) || names.length === 0)
    throw wrong('target_modules is not a list of names.', `${ADAPTER_CONFIG}, target_modules`)
  return {
    peft_type: 'FINETAB_BOTTLENECK',
    ...common(json),
    bottleneck_size: size(json, 'bottleneck_size'),
    non_linearity: 'gelu',
    target_modules: names,
  }
}
