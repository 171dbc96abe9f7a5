/**
 * LoRA (Hu et al. 2021) on a model's linear layers: made afresh, from a PEFT adapter, and back into one.
 * Refuses what it cannot compute exactly (DoRA, trained biases, extra modules) and adapters that do not fit, naming every bad tensor.
 */
import { CodedError } from '../../shared/errors'
import { LORA_TARGETS } from '../../shared/job'
import type { TensorData } from '../../shared/records'
import type { PeftAdapter, PeftConfig } from '../formats/peft'
import { patternValue } from '../formats/peft'
import { toFloat32 } from '../formats/safetensors'
import type { Model } from '../models/model'
import type { LinearSpec } from '../nn/network'
import type { LoraPair } from '../ops'
import type { NamedVariable } from '../optim/optimiser'
import { mixSeed, seedOf, uniform } from '../random'
import { readTensor } from '../tensor-data'
import { tf } from '../tf'

/** What an adapter was made with. */
export interface LoraSettings {
  readonly rank: number
  readonly alpha: number
  readonly dropout: number
  readonly targets: readonly string[]
}

interface Adapted {
  readonly spec: LinearSpec
  /** Position among the adapter's modules; tells dropout masks apart. */
  readonly index: number
  /** `[r, in]` */
  readonly a: tf.Variable
  /** `[out, r]` */
  readonly b: tf.Variable
  /** alpha / r, or alpha / √r for rsLoRA. */
  readonly scale: number
}

const PREFIX = 'base_model.model.'

function keysOf(spec: LinearSpec): { a: string; b: string } {
  return { a: `${PREFIX}${spec.module}.lora_A.weight`, b: `${PREFIX}${spec.module}.lora_B.weight` }
}

/** An adapter on the device. */
export class Adapter {
  /** As it is written into adapter_config.json. */
  readonly config: PeftConfig
  /** Number of trainable values. */
  readonly parameters: number
  /** Every trainable tensor under its PEFT key, by layer. */
  readonly variables: readonly NamedVariable[]
  readonly #modules: ReadonlyMap<string, Adapted>
  #strength = 1

  constructor(config: PeftConfig, modules: readonly Adapted[]) {
    this.config = config
    this.#modules = new Map(modules.map((module) => [module.spec.module, module]))
    this.variables = modules.flatMap(({ spec, a, b }) => [
      { name: keysOf(spec).a, variable: a },
      { name: keysOf(spec).b, variable: b },
    ])
    this.parameters = this.variables.reduce((sum, { variable }) => sum + variable.size, 0)
  }

  /** Share of inputs dropped in training. */
  get dropout(): number {
    return this.config.lora_dropout
  }

  /** 0 is the base model, 1 the adapter as trained. */
  setStrength(strength: number): void {
    this.#strength = strength
  }

  /** The matrices for a linear layer; with `dropoutSeed`, for training. */
  pair(module: string, dropoutSeed?: number): LoraPair | null {
    const adapted = this.#modules.get(module)
    if (!adapted || this.#strength === 0) return null
    const pair: LoraPair = {
      a: adapted.a as tf.Tensor as tf.Tensor2D,
      b: adapted.b as tf.Tensor as tf.Tensor2D,
      scale: adapted.scale * this.#strength,
    }
    if (dropoutSeed !== undefined && this.dropout > 0)
      pair.dropout = { rate: this.dropout, seed: dropoutSeed, salt: adapted.index }
    return pair
  }

  /** Positions in {@link Adapter.variables} of the tensors of one layer. */
  indicesOf(layer: number): number[] {
    const result: number[] = []
    let at = 0
    for (const { spec } of this.#modules.values()) {
      if (spec.layer === layer) result.push(at, at + 1)
      at += 2
    }
    return result
  }

  /** The adapter as PEFT stores it; forces a sync with the device. Strength is not part of it. */
  async toPeft(baseName: string): Promise<PeftAdapter> {
    const tensors: Record<string, TensorData> = {}
    for (const { name, variable } of this.variables) tensors[name] = await readTensor(variable)
    return { config: { ...this.config, base_model_name_or_path: baseName }, tensors }
  }

  dispose(): void {
    for (const { variable } of this.variables) variable.dispose()
  }
}

/** The targets that PEFT keys stand for: the last parts of their modules' names, in order of appearance. */
export function targetsOf(keys: readonly string[]): string[] {
  return [...new Set(keys.flatMap((key) => /([^.]+)\.lora_[AB]\.weight$/.exec(key)?.[1] ?? []))]
}

function matches(spec: LinearSpec, targets: readonly string[]): boolean {
  return targets.some((target) => spec.module === target || spec.module.endsWith(`.${target}`))
}

function unsupported(what: string, where: string): CodedError {
  return new CodedError('adapter.unsupported', what, {
    where,
    fix: 'Merge this adapter into its base model with PEFT, and use the merged model.',
  })
}

/** adapter_config.json of an adapter of our own. */
export function peftConfig(settings: LoraSettings, baseName: string, fanInFanOut = false): PeftConfig {
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
    use_rslora: false,
    use_dora: false,
    init_lora_weights: true,
    inference_mode: true,
    rank_pattern: {},
    alpha_pattern: {},
    modules_to_save: null,
  }
}

/**
 * A fresh adapter: A Kaiming-uniform (a = √5, so within ±1/√in), B zero, so that it changes nothing yet.
 * @throws CodedError `job.invalid` where the model has none of the targets.
 */
export function createAdapter(model: Model, settings: LoraSettings, seed: number): Adapter {
  // The whole list means all linear layers, whatever a family calls them.
  const targets = LORA_TARGETS.every((target) => settings.targets.includes(target)) ? model.targets : settings.targets
  const specs = model.network.linears.filter((spec) => matches(spec, targets))
  if (specs.length === 0)
    throw new CodedError('job.invalid', `This model has none of the layers ${settings.targets.join(', ')}.`, {
      where: 'targets',
      fix: `Choose among ${model.targets.join(', ')}.`,
    })
  const { rank, alpha } = settings
  const modules = specs.map((spec, index): Adapted => {
    const next = uniform(mixSeed(seed, seedOf(spec.module)))
    const bound = 1 / Math.sqrt(spec.in)
    const a = Float32Array.from({ length: rank * spec.in }, () => (2 * next() - 1) * bound)
    return {
      spec,
      index,
      scale: alpha / rank,
      a: variable(a, [rank, spec.in]),
      b: variable(new Float32Array(spec.out * rank), [spec.out, rank]),
    }
  })
  const present = targets.filter((target) => specs.some((spec) => matches(spec, [target])))
  return new Adapter(peftConfig({ ...settings, targets: present }, model.record.name, model.fanInFanOut), modules)
}

function variable(values: Float32Array, shape: [number, number]): tf.Variable {
  return tf.tidy(() => tf.variable(tf.tensor2d(values, shape), false))
}

function refuseUnsupported(config: PeftConfig, keys: readonly string[]): void {
  if (config.peft_type !== 'LORA')
    throw unsupported(`Adapters of type ${config.peft_type} are not supported.`, 'peft_type')
  if (config.use_dora || keys.some((key) => key.endsWith('lora_magnitude_vector')))
    throw unsupported('DoRA adapters are not supported.', 'use_dora')
  if ((config.modules_to_save?.length ?? 0) > 0)
    throw unsupported(`The adapter also replaces ${config.modules_to_save?.join(', ')}.`, 'modules_to_save')
  if (config.bias !== undefined && config.bias !== 'none') throw unsupported('The adapter also trained biases.', 'bias')
}

/**
 * A PEFT adapter on a model; rsLoRA, rank_pattern and alpha_pattern are honoured.
 * @throws CodedError `adapter.mismatch` listing every bad tensor, `adapter.unsupported`.
 */
export function loadAdapter(model: Model, peft: PeftAdapter): Adapter {
  const keys = Object.keys(peft.tensors)
  refuseUnsupported(peft.config, keys)
  const problems: string[] = []
  const wanted = new Set<string>()
  const specs = model.network.linears.filter((spec) => {
    const { a, b } = keysOf(spec)
    if (!(a in peft.tensors) && !(b in peft.tensors)) return false
    wanted.add(a).add(b)
    return true
  })
  for (const spec of specs) problems.push(...checkShapes(spec, peft))
  for (const key of keys) if (!wanted.has(key)) problems.push(`${key} has no layer in this model`)
  if (specs.length === 0 && problems.length === 0) problems.push('it holds no tensors')
  const targets = peft.config.target_modules
  if (Array.isArray(targets)) {
    for (const spec of model.network.linears) {
      if (matches(spec, targets) && !wanted.has(keysOf(spec).a)) problems.push(`${keysOf(spec).a} is missing`)
    }
  }
  if (problems.length > 0)
    throw new CodedError('adapter.mismatch', `The adapter does not fit this model: ${problems.join('; ')}.`, {
      where: 'adapter_model.safetensors',
      fix: `Use it with the model it was trained on${peft.config.base_model_name_or_path ? ` (${peft.config.base_model_name_or_path})` : ''}.`,
    })
  const modules = specs.map((spec, index): Adapted => {
    const { a, b } = keysOf(spec)
    const first = peft.tensors[a] as TensorData
    const rank = first.shape[0] as number
    const alpha = patternValue(peft.config.alpha_pattern, spec.module, peft.config.lora_alpha)
    return {
      spec,
      index,
      scale: alpha / (peft.config.use_rslora ? Math.sqrt(rank) : rank),
      a: variable(toFloat32(first), [rank, spec.in]),
      b: variable(toFloat32(peft.tensors[b] as TensorData), [spec.out, rank]),
    }
  })
  return new Adapter(peft.config, modules)
}

function checkShapes(spec: LinearSpec, { config, tensors }: PeftAdapter): string[] {
  const { a, b } = keysOf(spec)
  const problems: string[] = []
  const [first, second] = [tensors[a], tensors[b]]
  if (!first) problems.push(`${a} is missing`)
  if (!second) problems.push(`${b} is missing`)
  const rank = patternValue(config.rank_pattern, spec.module, config.r)
  const check = (key: string, tensor: TensorData | undefined, shape: readonly number[]): void => {
    if (!tensor) return
    if (tensor.shape.join() !== shape.join())
      problems.push(`${key} is [${tensor.shape.join(', ')}] and should be [${shape.join(', ')}]`)
    else if (toFloat32(tensor).some((value) => !Number.isFinite(value))) problems.push(`${key} contains NaN or Inf`)
  }
  check(a, first, [rank, spec.in])
  check(b, second, [spec.out, rank])
  return problems
}
