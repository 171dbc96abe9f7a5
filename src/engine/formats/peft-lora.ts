/** adapter_config.json of LoRA as PEFT writes it. Refuses variants that compute something else with `adapter.unsupported`. */
import { CodedError } from '../../shared/errors'
import { isObject } from '../../shared/json'
import { ADAPTER_CONFIG, isEmpty, isNumber, isRank, targets, text, wrong } from './peft-fields'

/** adapter_config.json of LoRA, as far as it matters here. Names are PEFT's. */
export interface LoraConfig {
  peft_type: 'LORA'
  task_type: string | null
  base_model_name_or_path: string | null
  r: number
  lora_alpha: number
  lora_dropout: number
  /** Names (or ends of names) of the adapted layers, or a pattern, or "all-linear". */
  target_modules: string[] | string | null
  /** Trained biases are refused. */
  bias: 'none'
  /** The base weight is stored `[in, out]` (GPT-2). */
  fan_in_fan_out: boolean
  /** Scale alpha/√r instead of alpha/r. */
  use_rslora: boolean
  use_dora: boolean
  init_lora_weights: boolean | string
  inference_mode: boolean
  /** Rank of the layers whose name ends so, where it is not `r`. */
  rank_pattern: Record<string, number>
  alpha_pattern: Record<string, number>
  /** Numbers of the layers that are adapted; all where null. */
  layers_to_transform: number[] | null
  /** Only a classification head, `score`. */
  modules_to_save: string[] | null
  /** Of that head, what its rows stand for; in a file of its own, which PEFT does not read. */
  classes?: string[]
}

/** Fields that change what an adapter computes in ways that are not built here: refused unless empty. */
const VARIANTS: Readonly<Record<string, string>> = {
  use_qalora: 'QALoRA',
  use_bdlora: 'BD-LoRA',
  lora_bias: 'LoRA with biases',
  alora_invocation_tokens: 'activated LoRA',
  arrow_config: 'Arrow',
  velora_config: 'VeLoRA',
  kasa_config: 'KaSA',
  monteclora_config: 'MonteCLoRA',
  layer_replication: 'layer replication',
  target_parameters: 'LoRA on parameters',
  trainable_token_indices: 'trained token embeddings',
  megatron_config: 'Megatron layers',
}

/** @returns a CodedError `adapter.unsupported` that says to merge with PEFT. */
export function unsupported(what: string, where: string): CodedError {
  return new CodedError('adapter.unsupported', what, {
    where,
    fix: 'Merge this adapter into its base model with PEFT (merge_and_unload), and use the merged model.',
  })
}

/** adapter_config.json of LoRA. Throws CodedError `adapter.unsupported`, `adapter.mismatch`. */
export function parseLoraConfig(json: unknown): LoraConfig {
  if (!isObject(json)) throw wrong('The adapter settings are not a JSON object.', ADAPTER_CONFIG)
  const { peft_type: type } = json
  if (typeof type !== 'string')
    throw wrong('The adapter settings do not say what method it is.', `${ADAPTER_CONFIG}, peft_type`)
  if (type !== 'LORA') throw unsupported(`Adapters of type ${type} are not supported.`, `${ADAPTER_CONFIG}, peft_type`)
  for (const [field, name] of Object.entries(VARIANTS)) {
    if (!isEmpty(json[field]))
      throw unsupported(`The adapter uses ${name}, which is not supported.`, `${ADAPTER_CONFIG}, ${field}`)
  }
  const saved = headOf(json)
  if ((json.bias ?? 'none') !== 'none') throw unsupported('The adapter also trained biases.', `${ADAPTER_CONFIG}, bias`)
  const r = json.r ?? 8
  const alpha = json.lora_alpha ?? 8
  const dropout = json.lora_dropout ?? 0
  if (!isRank(r))
    throw wrong(`The rank ${JSON.stringify(r)} is not a whole number from 1 to 65536.`, `${ADAPTER_CONFIG}, r`)
  if (!isNumber(alpha)) throw wrong('lora_alpha is not a number.', `${ADAPTER_CONFIG}, lora_alpha`)
  if (!isNumber(dropout) || dropout < 0 || dropout >= 1)
    throw wrong('lora_dropout is not between 0 and 1.', `${ADAPTER_CONFIG}, lora_dropout`)
  return {
    peft_type: type,
    task_type: text(json.task_type),
    base_model_name_or_path: text(json.base_model_name_or_path),
    r,
    lora_alpha: alpha,
    lora_dropout: dropout,
    target_modules: targets(json.target_modules),
    bias: 'none',
    fan_in_fan_out: json.fan_in_fan_out === true,
    use_rslora: json.use_rslora === true,
    use_dora: json.use_dora === true,
    init_lora_weights:
      typeof json.init_lora_weights === 'string' ? json.init_lora_weights : json.init_lora_weights !== false,
    inference_mode: json.inference_mode !== false,
    rank_pattern: pattern(json.rank_pattern, 'rank_pattern', isRank),
    alpha_pattern: pattern(json.alpha_pattern, 'alpha_pattern', isNumber),
    layers_to_transform: layersOf(json.layers_to_transform),
    ...saved,
  }
}

/** The key of a classification head's weight. */
export const SCORE_KEY = 'base_model.model.score.weight'

/** PEFT names a head by both names that transformers has for one. */
const HEADS = ['score', 'classifier']

/** Weights that stand whole beside the pairs; where classes are told apart, that is the head, and nothing else. */
function headOf(json: Record<string, unknown>): Pick<LoraConfig, 'modules_to_save' | 'classes'> {
  const names = namesOf(json.modules_to_save)
  if (names === null || json.task_type !== 'SEQ_CLS') return { modules_to_save: names }
  if (!names.every((name) => HEADS.includes(name)))
    throw unsupported('A classifier that also replaces whole weights is not supported.', `${ADAPTER_CONFIG}, modules_to_save`) // prettier-ignore
  const classes = json.classes
  const known = Array.isArray(classes) && classes.every((one) => typeof one === 'string')
  return { modules_to_save: ['score'], ...(known ? { classes } : {}) }
}

/** Whether an adapter tells classes apart by a head of its own. */
export function hasHead(config: Pick<LoraConfig, 'task_type' | 'modules_to_save'>): boolean {
  return config.task_type === 'SEQ_CLS' && config.modules_to_save !== null
}

function namesOf(value: unknown): string[] | null {
  if (isEmpty(value)) return null
  if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return value
  throw wrong('modules_to_save is not a list of names.', `${ADAPTER_CONFIG}, modules_to_save`)
}

/** One number stands for itself alone. */
function layersOf(value: unknown): number[] | null {
  if (value === undefined || value === null) return null
  const list: unknown[] = Array.isArray(value) ? value : [value]
  if (list.length > 0 && list.every((one) => Number.isSafeInteger(one) && (one as number) >= 0)) return list as number[]
  throw wrong('layers_to_transform is not a list of layer numbers.', `${ADAPTER_CONFIG}, layers_to_transform`)
}

function pattern(value: unknown, field: string, check: (one: unknown) => one is number): Record<string, number> {
  if (isEmpty(value)) return {}
  if (!isObject(value) || !Object.values(value).every(check))
    throw wrong(`${field} is not a list of names with numbers.`, `${ADAPTER_CONFIG}, ${field}`)
  return value as Record<string, number>
}

/**
 * The value of rank_pattern or alpha_pattern for a module, or `otherwise`. As in PEFT, keys are patterns for the end of the name;
 * repeated groups, which can take for ever to match, are taken literally.
 */
export function patternValue(patterns: Readonly<Record<string, number>>, module: string, otherwise: number): number {
  for (const [key, value] of Object.entries(patterns)) {
    if (module === key || module.endsWith(`.${key}`) || matchesEnd(key, module)) return value
  }
  return otherwise
}

function matchesEnd(pattern: string, module: string): boolean {
  if (/\)[*+{]/.test(pattern)) return false
  try {
    return new RegExp(`^(.*\\.)?(${pattern})$`).test(module)
  } catch {
    return false
  }
}
