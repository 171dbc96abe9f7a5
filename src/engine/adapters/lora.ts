/**
 * LoRA (Hu et al. 2021) on a model's linear layers, with DoRA's lengths and PiSSA's start: made afresh, from a PEFT adapter, and back
 * into one. Refuses adapters that do not fit, naming every bad tensor.
 */
import type { TensorData } from '../../shared/records'
import { savedTensors, type LoraPeft } from '../formats/peft'
import type { LoraConfig } from '../formats/peft-lora'
import { toFloat32 } from '../formats/safetensors'
import type { Model } from '../models/model'
import type { LinearSpec, Overlay } from '../nn/network'
import type { LoraPair } from '../ops'
import { mixSeed, seedOf, uniform } from '../random'
import { readTensor } from '../tensor-data'
import { tf } from '../tf'
import { homeless, misfit, refuseMisfits, variableOf } from './fit'
import type { PrincipalPair } from './pissa'
import { adaptedLayers, endsIn, isIn } from './places'
import { SavedModules, savedProblems } from './saved'
import { doubled, halved, layersToTransform, peftConfig, scaleOf, type LoraSettings } from './settings'
import type { Trainable, TrainedVariable } from './trainable'

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
  /** DoRA: the length of each row, `[out]`. */
  readonly lengths?: tf.Variable
  /** PiSSA: what A and B were at first, which the pass takes off again; never trained. */
  readonly start?: { readonly a: tf.Tensor2D; readonly b: tf.Tensor2D }
}

const PREFIX = 'base_model.model.'

function keysOf(spec: LinearSpec): { a: string; b: string; lengths: string } {
  const at = `${PREFIX}${spec.module}`
  return { a: `${at}.lora_A.weight`, b: `${at}.lora_B.weight`, lengths: `${at}.lora_magnitude_vector` }
}

/** An adapter on the device; its tensors go by their PEFT keys. */
class LoraAdapter implements Trainable {
  readonly config: LoraConfig
  readonly parameters: number
  readonly variables: readonly TrainedVariable[]
  readonly #modules: ReadonlyMap<string, Adapted>
  readonly #saved: { readonly modules: SavedModules; readonly tensors: Readonly<Record<string, TensorData>> } | null
  #strength = 1

  /** @param ratio learning rate of B over that of A. @param saved weights that it replaces whole, on the device and as they came. */
  constructor(
    config: LoraConfig,
    modules: readonly Adapted[],
    ratio = 1,
    saved: { readonly modules: SavedModules; readonly tensors: Readonly<Record<string, TensorData>> } | null = null,
  ) {
    this.config = config
    this.#saved = saved
    this.#modules = new Map(modules.map((module) => [module.spec.module, module]))
    this.variables = modules.flatMap(({ spec, a, b, lengths }) => {
      const keys = keysOf(spec)
      const pair = [
        { name: keys.a, variable: a, place: spec.layer },
        { name: keys.b, variable: b, place: spec.layer, ...(ratio === 1 ? {} : { rate: ratio }) },
      ]
      return lengths ? [...pair, { name: keys.lengths, variable: lengths, place: spec.layer }] : pair
    })
    this.parameters = this.variables.reduce((sum, { variable }) => sum + variable.size, 0)
  }

  /** Share of inputs dropped in training. */
  get dropout(): number {
    return this.config.lora_dropout
  }

  /** Whether what it started from is taken off in the pass (PiSSA), and stored as the second half of its rank. */
  get hasStart(): boolean {
    return [...this.#modules.values()].some(({ start }) => start !== undefined)
  }

  setStrength(strength: number): void {
    this.#strength = strength
    this.#saved?.modules.setStrength(strength)
  }

  overlay(dropoutSeed?: number | tf.Scalar): Overlay {
    return { ...this.#saved?.modules.overlay(), lora: (module) => this.#pair(module, dropoutSeed) }
  }

  #pair(module: string, dropoutSeed?: number | tf.Scalar): LoraPair | null {
    const adapted = this.#modules.get(module)
    if (!adapted || this.#strength === 0) return null
    const { a, b, start, lengths } = adapted
    const strength = this.#strength
    const pair: LoraPair = {
      a: (start ? tf.concat([a, start.a], 0) : a) as tf.Tensor as tf.Tensor2D,
      b: (start ? tf.concat([b, tf.neg(start.b)], 1) : b) as tf.Tensor as tf.Tensor2D,
      scale: lengths ? adapted.scale : adapted.scale * strength,
    }
    if (lengths) pair.lengths = { m: lengths as tf.Tensor as tf.Tensor1D, strength }
    if (dropoutSeed !== undefined && this.dropout > 0)
      pair.dropout = { rate: this.dropout, seed: dropoutSeed, salt: adapted.index }
    return pair
  }

  /**
   * The adapter as PEFT stores it; forces a sync with the device. Strength is not part of it. With a start that is taken off it is a
   * plain adapter of twice the rank, [A; A₀] and [B, −B₀].
   */
  async toPeft(baseName: string): Promise<LoraPeft> {
    const tensors: Record<string, TensorData> = { ...this.#saved?.tensors }
    for (const { spec, a, b, lengths, start } of this.#modules.values()) {
      const keys = keysOf(spec)
      tensors[keys.a] = await readMade(() => (start ? tf.concat([a, start.a], 0) : a))
      tensors[keys.b] = await readMade(() => (start ? tf.concat([b, tf.neg(start.b)], 1) : b))
      if (lengths) tensors[keys.lengths] = await readTensor(lengths)
    }
    const config = this.hasStart ? doubled(this.config) : this.config
    return { config: { ...config, base_model_name_or_path: baseName }, tensors }
  }

  dispose(): void {
    this.#saved?.modules.dispose()
    for (const { a, b, lengths, start } of this.#modules.values()) {
      tf.dispose([a, b, ...(lengths ? [lengths] : []), ...(start ? [start.a, start.b] : [])])
    }
  }
}

/** Reads a tensor that may have been made for it; a variable stays. */
async function readMade(make: () => tf.Tensor): Promise<TensorData> {
  const tensor = tf.tidy(make)
  try {
    return await readTensor(tensor)
  } finally {
    if (!(tensor instanceof tf.Variable)) tensor.dispose()
  }
}

/**
 * A fresh adapter, which changes nothing yet: A Kaiming-uniform (a = √5, so within ±1/√in) and B zero, or both as `starts` has them by
 * module, taken off again in the pass.
 * @throws CodedError `job.invalid` where the model has none of the targets.
 */
export function createLora(
  model: Model,
  settings: LoraSettings,
  seed: number,
  starts: ReadonlyMap<string, PrincipalPair> | null = null,
): LoraAdapter {
  const { specs, targets } = adaptedLayers(model, settings)
  const layers = layersToTransform(settings.layers ?? 0, model.network.layers)
  const config = peftConfig({ ...settings, targets }, model.record.name, model.fanInFanOut, layers)
  const modules = specs.map((spec, index): Adapted => {
    const { rank, scale } = scaleOf(config, spec.module)
    const first = starts?.get(spec.module) ?? freshPair(spec, rank, seed)
    return {
      spec,
      index,
      scale,
      a: variableOf(first.a, [rank, spec.in]),
      b: variableOf(first.b, [spec.out, rank]),
      ...(settings.dora ? { lengths: tf.tidy(() => tf.variable(tf.sqrt(spec.weight.rowSquares()), false)) } : {}),
      ...(starts ? { start: kept(first, rank, spec) } : {}),
    }
  })
  return new LoraAdapter(config, modules, settings.ratio)
}

function freshPair(spec: LinearSpec, rank: number, seed: number): PrincipalPair {
  const next = uniform(mixSeed(seed, seedOf(spec.module)))
  const bound = 1 / Math.sqrt(spec.in)
  return {
    a: Float32Array.from({ length: rank * spec.in }, () => (2 * next() - 1) * bound),
    b: new Float32Array(spec.out * rank),
  }
}

function kept({ a, b }: PrincipalPair, rank: number, spec: LinearSpec): { a: tf.Tensor2D; b: tf.Tensor2D } {
  return { a: tf.keep(tf.tensor2d(a, [rank, spec.in])), b: tf.keep(tf.tensor2d(b, [spec.out, rank])) }
}

export interface LoadOptions {
  /** Learning rate of B over that of A. */
  readonly ratio?: number
  /** Whether the second half of its rank is what it started from (PiSSA) and stays as it is. */
  readonly hasStart?: boolean
}

/**
 * A PEFT adapter on a model; rsLoRA, DoRA, rank_pattern, alpha_pattern and layers_to_transform are honoured.
 * @throws CodedError `adapter.mismatch` listing every bad tensor, `adapter.unsupported`.
 */
export function loadLora(model: Model, peft: LoraPeft, { ratio, hasStart }: LoadOptions = {}): LoraAdapter {
  const saved = savedTensors(peft)
  const wanted = new Set(Object.keys(saved).map((name) => `${PREFIX}${name}`))
  const kept = Object.fromEntries([...wanted].map((key) => [key, peft.tensors[key] as TensorData]))
  const specs = model.network.linears.filter((spec) => {
    const { a, b, lengths } = keysOf(spec)
    if (!(a in peft.tensors) && !(b in peft.tensors)) return false
    wanted.add(a).add(b)
    if (peft.config.use_dora) wanted.add(lengths)
    return true
  })
  const problems = [
    ...specs.flatMap((spec) => misfits(spec, peft)),
    ...savedProblems(model, peft),
    ...homeless(peft.tensors, wanted),
    ...(Object.keys(peft.tensors).length === 0 ? ['it holds no tensors'] : []),
  ]
  const targets = peft.config.target_modules
  if (Array.isArray(targets)) {
    for (const spec of model.network.linears) {
      const isMeant = endsIn(spec.module, targets) && isIn(spec, peft.config.layers_to_transform)
      if (isMeant && !wanted.has(keysOf(spec).a)) problems.push(`${keysOf(spec).a} is missing`)
    }
  }
  refuseMisfits(problems, peft.config.base_model_name_or_path)
  const config = hasStart ? halved(peft.config) : peft.config
  const modules = specs.map((spec, index) => loadModule(spec, index, peft.tensors, config, hasStart ?? false))
  const whole = Object.keys(saved).length > 0
  return new LoraAdapter(
    config,
    modules,
    ratio,
    whole ? { modules: new SavedModules(model, peft), tensors: kept } : null,
  )
}

function loadModule(
  spec: LinearSpec,
  index: number,
  tensors: LoraPeft['tensors'],
  config: LoraConfig,
  hasStart: boolean,
): Adapted {
  const keys = keysOf(spec)
  const { rank, scale } = scaleOf(config, spec.module)
  if (config.use_dora) spec.weight.rowSquares() // made here, so that no recorded pass makes it
  const floats = (key: string): Float32Array => toFloat32(tensors[key] as TensorData)
  const rest = {
    spec,
    index,
    scale,
    ...(config.use_dora ? { lengths: variableOf(floats(keys.lengths), [spec.out]) } : {}),
  }
  if (!hasStart)
    return { ...rest, a: variableOf(floats(keys.a), [rank, spec.in]), b: variableOf(floats(keys.b), [spec.out, rank]) }
  const [a, b] = [floats(keys.a), floats(keys.b)]
  const half = (from: number, sign: number): Float32Array =>
    Float32Array.from({ length: spec.out * rank }, (_, i) => {
      return sign * (b[Math.floor(i / rank) * 2 * rank + from + (i % rank)] as number)
    })
  const start = { a: a.subarray(rank * spec.in), b: half(rank, -1) }
  return {
    ...rest,
    a: variableOf(a.slice(0, rank * spec.in), [rank, spec.in]),
    b: variableOf(half(0, 1), [spec.out, rank]),
    start: kept(start, rank, spec),
  }
}

function misfits(spec: LinearSpec, { config, tensors }: LoraPeft): string[] {
  const keys = keysOf(spec)
  const { rank } = scaleOf(config, spec.module)
  return [
    ...misfit(tensors, keys.a, [rank, spec.in]),
    ...misfit(tensors, keys.b, [spec.out, rank]),
    ...(config.use_dora ? misfit(tensors, keys.lengths, [spec.out]) : []),
  ]
}
