/**
 * PEFT LoRA adapters: adapter_config.json and adapter_model.safetensors, read and written so that PEFT loads the same thing. Refuses
 * other methods and variants with `adapter.unsupported`; whether an adapter fits a model is the engine's to say.
 */
import { CodedError } from '../../shared/errors'
import type { FileSource, NamedFile } from '../../shared/files'
import type { Job } from '../../shared/job'
import type { TensorData } from '../../shared/records'
import { ADAPTER_CONFIG, isEmpty, isNumber, isObject, isRank, targets, text, wrong } from './peft-fields'
import { parseMethodConfig, type MethodConfig } from './peft-methods'
import { readSafetensorsHeader, readTensor, writeSafetensors } from './safetensors'

export { ADAPTER_CONFIG }
/** Beside a classification head: what its rows stand for. */
const CLASSES = 'classes.json'
export const ADAPTER_WEIGHTS = 'adapter_model.safetensors'

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

/** What trained whole weights are stored with: no method of PEFT's, so its folders go no further than this program. */
export interface FullConfig {
  peft_type: 'FULL'
  base_model_name_or_path: string | null
}

/** What a method is stored with; `peft_type` says which. */
export type PeftConfig = LoraConfig | FullConfig | MethodConfig

export interface PeftAdapter<C extends PeftConfig = PeftConfig> {
  config: C
  /** By key, exactly as in adapter_model.safetensors. */
  tensors: Record<string, TensorData>
}

export type LoraPeft = PeftAdapter<LoraConfig>

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

function unsupported(what: string, where: string): CodedError {
  return new CodedError('adapter.unsupported', what, {
    where,
    fix: 'Merge this adapter into its base model with PEFT (merge_and_unload), and use the merged model.',
  })
}

/** adapter_config.json of any method that is known here. Throws CodedError `adapter.unsupported`, `adapter.mismatch`. */
export function parseAdapterConfig(json: unknown): PeftConfig {
  if (isObject(json) && json.peft_type === 'FULL')
    return { peft_type: 'FULL', base_model_name_or_path: text(json.base_model_name_or_path) }
  return (isObject(json) ? parseMethodConfig(json) : null) ?? parsePeftConfig(json)
}

/** adapter_config.json of LoRA. Throws CodedError `adapter.unsupported`, `adapter.mismatch`. */
export function parsePeftConfig(json: unknown): LoraConfig {
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

/** What an adapter adds to one layer: W + scale · B·A. */
export interface LoraDelta {
  /** The layer, by its name in the base model: `model.layers.0.self_attn.q_proj`. */
  readonly module: string
  readonly rank: number
  readonly alpha: number
  /** alpha / r, or alpha / √r. */
  readonly scale: number
  /** `[r, in]` */
  readonly a: TensorData
  /** `[out, r]` */
  readonly b: TensorData
  /** DoRA: the length of each row of the sum, `[out]`. */
  readonly lengths?: TensorData
}

const KEY = /^base_model\.model\.(.+)\.lora_(?:([AB])\.weight|magnitude_vector)$/

/** What an adapter's own settings say of the job that made it; all else is not known. */
export function jobOf(config: PeftConfig): Partial<Job> {
  switch (config.peft_type) {
    case 'LORA': {
      const { r: rank, lora_alpha: alpha, lora_dropout: dropout, target_modules: targets } = config
      const objective = hasHead(config) ? { objective: 'classification' as const } : {}
      return { method: 'lora', rank, alpha, dropout, ...(Array.isArray(targets) ? { targets } : {}), ...objective }
    }
    case 'IA3':
      return { method: 'ia3' }
    case 'PROMPT_TUNING':
      return { method: 'prompt', virtualTokens: config.num_virtual_tokens }
    case 'PREFIX_TUNING':
      return { method: 'prefix', virtualTokens: config.num_virtual_tokens }
    case 'FINETAB_BOTTLENECK':
      return { method: 'bottleneck', bottleneckSize: config.bottleneck_size }
    case 'FULL':
      return { method: 'full' }
  }
}

/** What the head of an adapter tells apart; undefined where it has none. */
export function classesOf({ config }: PeftAdapter): readonly string[] | undefined {
  return config.peft_type === 'LORA' && hasHead(config) ? config.classes : undefined
}

/** A weight that is replaced whole: embeddings, heads and norms, and whatever else modules_to_save names. */
const SAVED = /^base_model\.model\.((?!.*\.lora_).+\.(?:weight|bias))$/
const FLOATS: readonly string[] = ['F32', 'F16', 'BF16']

/** What an adapter replaces whole, by its names in the base's files. */
export function savedTensors({ tensors }: Pick<PeftAdapter, 'tensors'>): Record<string, TensorData> {
  const entries = Object.entries(tensors).flatMap(([key, tensor]) => {
    const [, name] = SAVED.exec(key) ?? []
    return name === undefined || key === SCORE_KEY ? [] : [[name, tensor] as const]
  })
  return Object.fromEntries(entries)
}

/** Modules that are to be replaced whole and are not there, a sentence each. */
export function missingSaved({ config, tensors }: LoraPeft): string[] {
  if (hasHead(config)) return []
  const there = Object.keys(savedTensors({ tensors })).map((name) => name.replace(/\.(weight|bias)$/, ''))
  const missing = (config.modules_to_save ?? []).filter((module) => !there.some((name) => name.endsWith(module)))
  return missing.map((module) => `modules_to_save names ${module}, which is not there`)
}

/**
 * Whether a head that was the table is one of its own afterwards: PEFT replaces one of a tied pair alone, unless the adapter only came to
 * hold the table because tokens were added.
 */
export function untiesHead({ config, tensors }: LoraPeft): boolean {
  const names = Object.keys(savedTensors({ tensors }))
  const named = (config.modules_to_save ?? []).some((module) => /(^|\.)(embed_tokens|wte|embed_in)$/.test(module))
  return names.some((name) => /^(lm_head|embed_out)\.weight$/.test(name)) || named
}

/** An adapter that is LoRA. Throws CodedError `adapter.unsupported` where it is of another method. */
export function asLora(adapter: PeftAdapter): LoraPeft {
  if (adapter.config.peft_type === 'LORA') return adapter as LoraPeft
  const merges = adapter.config.peft_type === 'IA3' || adapter.config.peft_type === 'FULL'
  throw new CodedError('adapter.unsupported', 'This can be done with LoRA adapters only.', {
    where: 'peft_type',
    fix: merges
      ? 'Export the merged model, which holds what was trained.'
      : 'Export it as an adapter: what it learnt cannot be written as weights of the model.',
  })
}

/** Every pair of an adapter, by module. Throws CodedError `adapter.unsupported`, or `adapter.mismatch` listing every key that has no place or no partner. */
export function loraDeltas(adapter: PeftAdapter): LoraDelta[] {
  const { config, tensors } = asLora(adapter)
  const problems: string[] = []
  const modules = new Map<string, { a?: TensorData; b?: TensorData; lengths?: TensorData }>()
  for (const [key, tensor] of Object.entries(tensors)) {
    if (key === SCORE_KEY && hasHead(config)) continue
    const [, module, side] = KEY.exec(key) ?? []
    if (module === undefined) {
      if (!SAVED.test(key)) problems.push(`${key} is no LoRA tensor`)
      else if (!FLOATS.includes(tensor.dtype)) problems.push(`${key} is ${tensor.dtype}`)
      continue
    }
    if (side && tensor.shape.length !== 2) problems.push(`${key} is not a matrix`)
    if (!side && !config.use_dora) problems.push(`${key} belongs to DoRA, which the settings do not name`)
    if (!FLOATS.includes(tensor.dtype)) problems.push(`${key} is ${tensor.dtype}`)
    modules.set(module, { ...modules.get(module), [side === 'A' ? 'a' : side === 'B' ? 'b' : 'lengths']: tensor })
  }
  const deltas: LoraDelta[] = []
  for (const [module, { a, b, lengths }] of modules) {
    if (!a || !b) {
      problems.push(a || b ? `${module} has only lora_${a ? 'A' : 'B'}` : `${module} has no lora_A and lora_B`)
      continue
    }
    if (config.use_dora && lengths?.shape.join() !== String(b.shape[0]))
      problems.push(`${module} needs a lora_magnitude_vector of ${b.shape[0]} numbers`)
    const rank = patternValue(config.rank_pattern, module, config.r)
    if (a.shape[0] !== rank || b.shape[1] !== rank)
      problems.push(`${module} has rank ${a.shape[0]} in lora_A and ${b.shape[1]} in lora_B, the settings say ${rank}`)
    const alpha = patternValue(config.alpha_pattern, module, config.lora_alpha)
    deltas.push({
      module,
      rank,
      alpha,
      scale: alpha / (config.use_rslora ? Math.sqrt(rank) : rank),
      a,
      b,
      ...(lengths ? { lengths } : {}),
    })
  }
  problems.push(...missingSaved(asLora(adapter)))
  if (Object.keys(tensors).length === 0) problems.push('it holds no tensors')
  if (problems.length > 0) {
    const shown = problems.slice(0, 40).join('; ') + (problems.length > 40 ? `; and ${problems.length - 40} more` : '')
    throw wrong(`The adapter does not hold together: ${shown}.`, ADAPTER_WEIGHTS)
  }
  return deltas
}

function noPlace(what: string, where: string): CodedError {
  return new CodedError('adapter.unsupported', what, {
    where,
    fix: 'Export it as a PEFT adapter, or merged into the model.',
  })
}

/**
 * The pairs of an adapter for a format that has no place for DoRA's lengths and for whole weights. Throws CodedError
 * `adapter.unsupported` where there are any, and what {@link loraDeltas} throws.
 */
export function plainDeltas(adapter: PeftAdapter): LoraDelta[] {
  if (asLora(adapter).config.use_dora) throw noPlace('This format has no place for a DoRA adapter.', 'use_dora')
  const [saved] = Object.keys(savedTensors(adapter))
  if (saved !== undefined) throw noPlace('This format has no place for weights that are replaced whole.', saved)
  return loraDeltas(adapter)
}

/**
 * Reads an adapter folder. Throws CodedError `file.missing`, `adapter.unsupported`, `adapter.mismatch` (with every bad tensor),
 * `model.pickle`, `model.header`, `model.truncated`.
 */
export async function readPeft(source: FileSource): Promise<PeftAdapter> {
  const names = (await source.list()).map((file) => file.name)
  const json = await readJson(source, ADAPTER_CONFIG, names)
  const classes = names.includes(CLASSES) ? await readJson(source, CLASSES, names) : null
  const config = parseAdapterConfig(isObject(json) && isObject(classes) ? { ...json, ...classes } : json)
  if (!names.includes(ADAPTER_WEIGHTS)) {
    if (names.includes('adapter_model.bin'))
      throw new CodedError('model.pickle', 'The adapter is a pickle file, which can run code when it is opened.', {
        where: 'adapter_model.bin',
        fix: 'Load it once with PEFT and save it again: save_pretrained writes safetensors.',
      })
    throw missing(ADAPTER_WEIGHTS)
  }
  const header = await readSafetensorsHeader(source, ADAPTER_WEIGHTS)
  const entries: [string, TensorData][] = []
  for (const key of header.tensors.keys()) {
    if (/lora_embedding_|\.lora_[AB]\.bias$/.test(key))
      throw unsupported('The adapter holds more than LoRA matrices.', `${ADAPTER_WEIGHTS}, tensor ${key}`)
    entries.push([key, await readTensor(source, header, key)])
  }
  const tensors = Object.fromEntries(entries)
  if (config.peft_type === 'LORA') loraDeltas({ config, tensors })
  return { config, tensors }
}

async function readJson(source: FileSource, name: string, names: readonly string[]): Promise<unknown> {
  if (!names.includes(name)) throw missing(name)
  const bytes = await source.read(name)
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as unknown
  } catch (cause) {
    throw wrong('The adapter settings are not valid JSON.', name, cause)
  }
}

function missing(name: string): CodedError {
  return new CodedError('file.missing', `There is no ${name}.`, {
    where: name,
    fix: `Pick the adapter's folder or zip, with ${ADAPTER_CONFIG} and ${ADAPTER_WEIGHTS} in it.`,
  })
}

/** The two files of an adapter folder. Throws CodedError `adapter.mismatch` where the tensors are not whole. */
export function writePeft(adapter: PeftAdapter): NamedFile[] {
  if (adapter.config.peft_type === 'LORA') loraDeltas(adapter)
  const { classes, ...config } = { classes: undefined, ...adapter.config }
  const json = (name: string, value: object): NamedFile => ({ name, bytes: new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`) }) // prettier-ignore
  return [
    json(ADAPTER_CONFIG, config),
    ...(classes ? [json(CLASSES, { classes })] : []),
    { name: ADAPTER_WEIGHTS, bytes: writeSafetensors(adapter.tensors, { format: 'pt' }) },
  ]
}
