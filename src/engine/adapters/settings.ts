/** What a LoRA adapter is made with, from a job, and as PEFT writes it. Refuses tensors. */
import type { Job } from '../../shared/job'
import { patternValue, type LoraConfig } from '../formats/peft-lora'

/** What an adapter was made with. */
export interface LoraSettings {
  readonly rank: number
  readonly alpha: number
  readonly dropout: number
  readonly targets: readonly string[]
  /** Scale alpha/√r instead of alpha/r (Kalajdzievski 2023). */
  readonly rslora?: boolean
  /** Direction and length apart (Liu et al. 2024). */
  readonly dora?: boolean
  /** Rank and alpha of the modules whose name ends so, where they have their own. */
  readonly ranks?: Readonly<Record<string, number>>
  readonly alphas?: Readonly<Record<string, number>>
  /** How many layers are adapted, from the last one down; all where 0 or left out. */
  readonly layers?: number
  /** Learning rate of B over that of A (LoRA+, Hayou et al. 2024). */
  readonly ratio?: number
}

/** "q_proj=8, down_proj=32" as numbers by name; nothing for an empty text. */
export function readPattern(text: string): Record<string, number> {
  const entries = text.split(',').flatMap((part) => {
    const [name, value] = part.split('=').map((side) => side.trim())
    return name && value ? [[name, Number(value)] as const] : []
  })
  return Object.fromEntries(entries)
}

/** The adapter that a job asks for. */
export function loraSettings(job: Job): LoraSettings {
  return {
    rank: job.rank,
    alpha: job.alpha,
    dropout: job.dropout,
    targets: job.targets,
    rslora: job.rslora,
    dora: job.dora,
    ranks: readPattern(job.rankPattern),
    alphas: readPattern(job.alphaPattern),
    layers: job.loraLayers,
    ratio: job.loraPlus,
  }
}

/** Rank, alpha and scale of a module. */
export function scaleOf(config: LoraConfig, module: string): { rank: number; alpha: number; scale: number } {
  const rank = patternValue(config.rank_pattern, module, config.r)
  const alpha = patternValue(config.alpha_pattern, module, config.lora_alpha)
  return { rank, alpha, scale: alpha / (config.use_rslora ? Math.sqrt(rank) : rank) }
}

function resized(config: LoraConfig, by: (value: number, factor: number) => number): LoraConfig {
  const all = (values: Record<string, number>, factor: number): Record<string, number> =>
    Object.fromEntries(Object.entries(values).map(([name, value]) => [name, by(value, factor)]))
  const factor = config.use_rslora ? Math.SQRT2 : 2
  return {
    ...config,
    r: by(config.r, 2),
    lora_alpha: by(config.lora_alpha, factor),
    rank_pattern: all(config.rank_pattern, 2),
    alpha_pattern: all(config.alpha_pattern, factor),
  }
}

/** The same adapter at twice its rank, with the same scale everywhere. */
export function doubled(config: LoraConfig): LoraConfig {
  return resized(config, (value, factor) => value * factor)
}

/** What {@link doubled} was given. */
export function halved(config: LoraConfig): LoraConfig {
  return resized(config, (value, factor) => value / factor)
}

/** Numbers of the last so many of all layers; null for all of them, which 0 stands for. */
export function layersToTransform(last: number, layers: number): number[] | null {
  if (last === 0 || last >= layers) return null
  return Array.from({ length: last }, (_, i) => layers - last + i)
}

/** adapter_config.json of an adapter of our own. @param layers numbers of the adapted layers where it is not on all. */
export function peftConfig(
  settings: LoraSettings,
  baseName: string,
  fanInFanOut = false,
  layers: number[] | null = null,
): LoraConfig {
  return {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: baseName,
    r: settings.rank,
    lora_alpha: settings.alpha,
    lora_dropout: settings.dropout,
    target_modules: [...settings.targets],
    bias: 'none',
    fan_in_fan_out: fanInFanOut,
    use_rslora: settings.rslora ?? false,
    use_dora: settings.dora ?? false,
    init_lora_weights: true,
    inference_mode: true,
    rank_pattern: { ...settings.ranks },
    alpha_pattern: { ...settings.alphas },
    layers_to_transform: layers,
    modules_to_save: null,
  }
}
