/**
 * (IA)³ (Liu et al. 2022): learnt factors on keys, values and the inside of feed-forward blocks; made afresh (all 1), from PEFT, and back.
 * Refuses adapters that do not fit, naming every bad tensor.
 */
import type { PeftAdapter } from '../formats/peft'
import type { Ia3Config } from '../formats/peft-methods'
import type { Model } from '../models/model'
import type { LinearSpec, Overlay } from '../nn/network'
import { readVariables } from '../tensor-data'
import { tf } from '../tf'
import { homeless, misfit, refuseMisfits, storedVariable, variableOf } from './fit'
import { endsIn, keyValueLayers, mlpOutputs } from './places'
import type { Trainable, TrainedVariable } from './trainable'

interface Scaled {
  readonly spec: LinearSpec
  /** Whether the factors stand before the layer, `[1, in]`, or after it, `[out, 1]`. */
  readonly before: boolean
  readonly factors: tf.Variable
}

const keyOf = (spec: LinearSpec): string => `base_model.model.${spec.module}.ia3_l`
const shapeOf = (spec: LinearSpec, before: boolean): number[] => (before ? [1, spec.in] : [spec.out, 1])

/** Factors on the device, under their PEFT keys. */
class Ia3 implements Trainable {
  readonly config: Ia3Config
  readonly parameters: number
  readonly variables: readonly TrainedVariable[]
  readonly #layers: ReadonlyMap<string, Scaled>
  #strength = 1

  constructor(config: Ia3Config, layers: readonly Scaled[]) {
    this.config = config
    this.#layers = new Map(layers.map((layer) => [layer.spec.module, layer]))
    this.variables = layers.map(({ spec, factors }) => ({ name: keyOf(spec), variable: factors, place: spec.layer }))
    this.parameters = layers.reduce((sum, { factors }) => sum + factors.size, 0)
  }

  setStrength(strength: number): void {
    this.#strength = strength
  }

  overlay(): Overlay | null {
    if (this.#strength === 0) return null
    return {
      input: (module, x) => this.#scale(module, true, x),
      output: (module, y) => this.#scale(module, false, y),
    }
  }

  #scale(module: string, before: boolean, x: tf.Tensor2D): tf.Tensor2D {
    const layer = this.#layers.get(module)
    if (layer?.before !== before) return x
    const factors = tf.reshape(layer.factors, [1, layer.factors.size])
    // At half strength half way between 1 and what was learnt.
    const s = this.#strength
    return tf.mul(x, s === 1 ? factors : tf.add(tf.mul(factors, s), 1 - s))
  }

  async toPeft(baseName: string): Promise<PeftAdapter<Ia3Config>> {
    return {
      config: { ...this.config, base_model_name_or_path: baseName },
      tensors: await readVariables(this.variables),
    }
  }

  dispose(): void {
    for (const { variable } of this.variables) variable.dispose()
  }
}

/** Factors that change nothing yet. Throws CodedError `job.invalid` where the model's layers are not known. */
export function createIa3(model: Model): Ia3 {
  const [outer, inner] = [keyValueLayers(model), mlpOutputs(model)]
  const ones = (spec: LinearSpec, before: boolean): Scaled => {
    const shape = shapeOf(spec, before)
    return { spec, before, factors: variableOf(new Float32Array(before ? spec.in : spec.out).fill(1), shape) }
  }
  const config: Ia3Config = {
    peft_type: 'IA3',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: model.record.name,
    target_modules: [...outer.names, ...inner.names],
    feedforward_modules: [...inner.names],
    fan_in_fan_out: model.fanInFanOut,
    init_ia3_weights: true,
    inference_mode: true,
    modules_to_save: null,
  }
  const before = new Set(inner.specs.map(({ module }) => module))
  const layers = model.network.linears.filter((spec) => before.has(spec.module) || outer.specs.includes(spec))
  return new Ia3(
    config,
    layers.map((spec) => ones(spec, before.has(spec.module))),
  )
}

/** Stored factors on a model. Throws CodedError `adapter.mismatch` listing every bad tensor. */
export function loadIa3(model: Model, { config, tensors }: PeftAdapter<Ia3Config>): Ia3 {
  const feedForward = config.feedforward_modules
  const isBefore = ({ module }: LinearSpec): boolean =>
    typeof feedForward === 'string'
      ? new RegExp(`^(${feedForward})$`).test(module)
      : (feedForward ?? []).some((name) => module.endsWith(name))
  const targets = config.target_modules
  const specs = model.network.linears.filter(
    (spec) => keyOf(spec) in tensors || (Array.isArray(targets) && endsIn(spec.module, targets)),
  )
  const problems = [
    ...specs.flatMap((spec) => misfit(tensors, keyOf(spec), shapeOf(spec, isBefore(spec)))),
    ...homeless(tensors, new Set(specs.map(keyOf))),
    ...(specs.length === 0 ? ['it holds no factors'] : []),
  ]
  refuseMisfits(problems, config.base_model_name_or_path)
  const layers = specs.map((spec): Scaled => {
    const before = isBefore(spec)
    return { spec, before, factors: storedVariable(tensors, keyOf(spec), shapeOf(spec, before)) }
  })
  return new Ia3(config, layers)
}
