/**
 * Bottleneck adapters (Houlsby et al. 2019): after each block a narrow network whose change is added to what the block gives, before the
 * residual. Made afresh (changing nothing) and from our own files. Refuses adapters that do not fit, naming every bad tensor.
 */
import type { PeftAdapter } from '../formats/peft'
import type { BottleneckConfig } from '../formats/peft-methods'
import type { Model } from '../models/model'
import type { LinearSpec, Overlay } from '../nn/network'
import { gelu } from '../ops'
import { mixSeed, seedOf, uniform } from '../random'
import { readVariables } from '../tensor-data'
import { tf } from '../tf'
import { homeless, misfit, refuseMisfits, storedVariable, variableOf } from './fit'
import { blockOutputs, endsIn, mlpOutputs } from './places'
import type { Trainable, TrainedVariable } from './trainable'

interface BottleneckSettings {
  readonly width: number
  /** After feed-forward blocks alone (Pfeiffer et al. 2021) or after attention too. */
  readonly places: 'both' | 'mlp'
}

const PARTS = ['down.weight', 'down.bias', 'up.weight', 'up.bias'] as const
type Part = (typeof PARTS)[number]
type Narrow = { readonly [P in Part]: tf.Variable }

const keyOf = (spec: LinearSpec, part: Part): string => `base_model.model.${spec.module}.adapter_${part}`
const shapeOf = (spec: LinearSpec, width: number, part: Part): number[] =>
  ({ 'down.weight': [width, spec.out], 'down.bias': [width], 'up.weight': [spec.out, width], 'up.bias': [spec.out] })[
    part
  ]

/** Narrow networks on the device. */
export class Bottleneck implements Trainable {
  readonly config: BottleneckConfig
  readonly parameters: number
  readonly variables: readonly TrainedVariable[]
  readonly #layers: ReadonlyMap<string, Narrow>
  #strength = 1

  constructor(config: BottleneckConfig, layers: readonly { spec: LinearSpec; narrow: Narrow }[]) {
    this.config = config
    this.#layers = new Map(layers.map(({ spec, narrow }) => [spec.module, narrow]))
    this.variables = layers.flatMap(({ spec, narrow }) =>
      PARTS.map((part) => ({ name: keyOf(spec, part), variable: narrow[part], place: spec.layer })),
    )
    this.parameters = this.variables.reduce((sum, { variable }) => sum + variable.size, 0)
  }

  setStrength(strength: number): void {
    this.#strength = strength
  }

  overlay(): Overlay | null {
    return this.#strength === 0 ? null : { output: (module, y) => this.#change(module, y) }
  }

  #change(module: string, y: tf.Tensor2D): tf.Tensor2D {
    const narrow = this.#layers.get(module)
    if (!narrow) return y
    const down = tf.matMul(y, narrow['down.weight'] as tf.Tensor as tf.Tensor2D, false, true)
    const bent = gelu(tf.add(down, narrow['down.bias']), 'exact')
    const up = tf.matMul(bent, narrow['up.weight'] as tf.Tensor as tf.Tensor2D, false, true)
    const change = tf.add(up, narrow['up.bias'])
    return tf.add(y, this.#strength === 1 ? change : tf.mul(change, this.#strength))
  }

  async toPeft(baseName: string): Promise<PeftAdapter<BottleneckConfig>> {
    return {
      config: { ...this.config, base_model_name_or_path: baseName },
      tensors: await readVariables(this.variables),
    }
  }

  dispose(): void {
    for (const { variable } of this.variables) variable.dispose()
  }
}

/** Networks that change nothing yet: the way down Kaiming-uniform (within ±1/√hidden), the way up zero. */
export function createBottleneck(model: Model, { width, places }: BottleneckSettings, seed: number): Bottleneck {
  const { specs, names } = places === 'both' ? blockOutputs(model) : mlpOutputs(model)
  const layers = specs.map((spec) => {
    const next = uniform(mixSeed(seed, seedOf(spec.module)))
    const bound = 1 / Math.sqrt(spec.out)
    const down = Float32Array.from({ length: width * spec.out }, () => (2 * next() - 1) * bound)
    const part = (name: Part): tf.Variable => {
      const shape = shapeOf(spec, width, name)
      const size = shape.reduce((product, n) => product * n, 1)
      return variableOf(name === 'down.weight' ? down : new Float32Array(size), shape)
    }
    return { spec, narrow: Object.fromEntries(PARTS.map((name) => [name, part(name)])) as Narrow }
  })
  const config: BottleneckConfig = {
    peft_type: 'FINETAB_BOTTLENECK',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: model.record.name,
    inference_mode: true,
    bottleneck_size: width,
    non_linearity: 'gelu',
    target_modules: [...names],
  }
  return new Bottleneck(config, layers)
}

/** Stored networks on a model. Throws CodedError `adapter.mismatch` listing every bad tensor. */
export function loadBottleneck(model: Model, { config, tensors }: PeftAdapter<BottleneckConfig>): Bottleneck {
  const specs = model.network.linears.filter(({ module }) => endsIn(module, config.target_modules))
  const width = config.bottleneck_size
  const wanted = specs.flatMap((spec) => PARTS.map((part) => ({ spec, part, key: keyOf(spec, part) })))
  const problems = [
    ...wanted.flatMap(({ spec, part, key }) => misfit(tensors, key, shapeOf(spec, width, part))),
    ...homeless(tensors, new Set(wanted.map(({ key }) => key))),
    ...(specs.length === 0 ? ['none of its layers is in this model'] : []),
  ]
  refuseMisfits(problems, config.base_model_name_or_path)
  const layers = specs.map((spec) => {
    const parts = PARTS.map(
      (part) => [part, storedVariable(tensors, keyOf(spec, part), shapeOf(spec, width, part))] as const,
    )
    return { spec, narrow: Object.fromEntries(parts) as Narrow }
  })
  return new Bottleneck(config, layers)
}
