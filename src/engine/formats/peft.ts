/**
 * PEFT adapters: adapter_config.json and adapter_model.safetensors, read and written so that PEFT loads the same thing. Refuses methods
 * that are not known here with `adapter.unsupported`; whether an adapter fits a model is the engine's to say.
 */
import { CodedError } from '../../shared/errors'
import type { FileSource, NamedFile } from '../../shared/files'
import type { Job } from '../../shared/job'
import type { TensorData } from '../../shared/records'
import { isObject } from '../../shared/json'
import { ADAPTER_CONFIG, text, wrong } from './peft-fields'
import { hasHead, parseLoraConfig, patternValue, SCORE_KEY, unsupported, type LoraConfig } from './peft-lora'
import { parseMethodConfig, type MethodConfig } from './peft-methods'
import { readSafetensorsHeader, readTensor, writeSafetensors } from './safetensors'

export { ADAPTER_CONFIG }
/** Beside a classification head: what its rows stand for. */
const CLASSES = 'classes.json'
export const ADAPTER_WEIGHTS = 'adapter_model.safetensors'

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

/** adapter_config.json of any method that is known here. Throws CodedError `adapter.unsupported`, `adapter.mismatch`. */
export function parseAdapterConfig(json: unknown): PeftConfig {
  if (isObject(json) && json.peft_type === 'FULL')
    return { peft_type: 'FULL', base_model_name_or_path: text(json.base_model_name_or_path) }
  return (isObject(json) ? parseMethodConfig(json) : null) ?? parseLoraConfig(json)
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
