/**
 * Full fine-tuning: weights of the base itself, in f32, in the place of those that were loaded; the base stays beside them, so that both
 * can be asked. Made afresh, or from what was stored, by their names in files. Refuses a base whose weights were rounded.
 */
import { CodedError } from '../../shared/errors'
import type { TensorData } from '../../shared/records'
import type { FullConfig, PeftAdapter } from '../formats/peft'
import type { Model } from '../models/model'
import type { NetworkWeight, Overlay } from '../nn/network'
import { FrozenMatrix } from '../ops'
import { followsTrained } from '../ops/trained'
import { readTensor } from '../tensor-data'
import { tf } from '../tf'
import { trainingStarts, type FreezeSettings } from './freeze'
import { checkStored, fileTensors, fileValues } from './full-files'
import type { Place, Trainable, TrainedVariable } from './trainable'

/** A weight, what stands in its place, and that as a matrix where it is one. */
interface Replaced {
  readonly weight: NetworkWeight
  readonly variable: tf.Variable
  readonly matrix: FrozenMatrix | null
  /** The epoch from which it is trained; Infinity where it stays as it was stored. */
  readonly start: number
}

/** Weights of the base as training moves them; a tied table, which is also the head, is one of them. */
class FullWeights implements Trainable {
  readonly config: FullConfig
  readonly parameters: number
  readonly variables: readonly TrainedVariable[]
  readonly #replaced: readonly Replaced[]
  #waiting: ReadonlySet<number> = new Set()
  #strength = 1
  /** What is shown instead where the strength is neither 0 nor 1: points on the way from the base to the weights. */
  #between: readonly Replaced[] | null = null

  constructor(model: Model, replaced: readonly Replaced[]) {
    this.config = { peft_type: 'FULL', base_model_name_or_path: model.record.name }
    this.#replaced = replaced
    this.variables = replaced.filter(isEverTrained).map(({ weight, variable }) => ({
      name: weight.name,
      variable,
      place: placeOf(model, weight),
      ...(variable.rank === 1 ? { decays: false } : {}),
      ...(layerOf(weight) === null ? { table: true } : {}),
    }))
    this.parameters = this.variables.reduce((sum, { variable }) => sum + variable.size, 0)
    this.unfreeze(0)
  }

  get waiting(): ReadonlySet<number> {
    return this.#waiting
  }

  unfreeze(epoch: number): boolean {
    const before = this.#waiting.size
    const trained = this.#replaced.filter(isEverTrained)
    this.#waiting = new Set(trained.flatMap(({ start }, at) => (start > epoch ? [at] : [])))
    for (const { matrix, start } of this.#replaced) matrix?.hold(start > epoch)
    return this.#waiting.size !== before
  }

  overlay(): Overlay | null {
    if (this.#strength === 0) return null
    const shown = new Map<object, Replaced>((this.#between ?? this.#replaced).map((one) => [one.weight.value, one]))
    return {
      matrix: (base) => shown.get(base)?.matrix ?? null,
      vector: (base) => vectorOf(shown.get(base)),
    }
  }

  setStrength(strength: number): void {
    this.#strength = strength
    this.#between?.forEach(free)
    this.#between =
      strength === 0 || strength === 1
        ? null
        : this.#replaced.map(({ weight, variable }) =>
            replaced(weight, Infinity, () => {
              const base = baseValues(weight)
              return tf.add(base, tf.mul(tf.sub(variable, base), strength))
            }),
          )
  }

  async toPeft(baseName: string): Promise<PeftAdapter<FullConfig>> {
    const tensors: Record<string, TensorData> = {}
    for (const { weight, variable } of this.#replaced)
      Object.assign(tensors, fileTensors(weight, await readTensor(variable)))
    return { config: { ...this.config, base_model_name_or_path: baseName }, tensors }
  }

  dispose(): void {
    this.#between?.forEach(free)
    this.#replaced.forEach(free)
  }
}

function isEverTrained({ start }: Pick<Replaced, 'start'>): boolean {
  return Number.isFinite(start)
}

/** The epoch from which a job trains each of the model's weights; Infinity for never. */
function startsOf(model: Model, settings: FreezeSettings): number[] {
  const head = model.network.head({ overlay: null })
  const seen = distinct(model).map((weight) => {
    return { name: weight.name, place: placeOf(model, weight), isHead: weight.value === head }
  })
  return trainingStarts(seen, settings, model.network.layers)
}

/**
 * The base's weights, to be trained as far as the settings say. Throws CodedError `job.invalid` where that is nothing, or where they were
 * rounded when they were loaded.
 */
export function createFull(model: Model, settings: FreezeSettings): FullWeights {
  if (model.quantization !== 'none')
    throw new CodedError('job.invalid', 'Full fine-tuning cannot start from weights that are held in fewer bits.', {
      where: 'quantization',
      fix: 'Set the base weights to "as in its files", or train a LoRA adapter on them.',
    })
  return trainedFrom(model, {}, startsOf(model, settings))
}

/**
 * Weights as they were stored: to be looked at or, with the settings of a job, to be trained on as far as those say.
 * @throws CodedError `adapter.mismatch` listing every tensor that does not fit.
 */
export function loadFull(
  model: Model,
  { tensors }: PeftAdapter<FullConfig>,
  settings: FreezeSettings | null = null,
): FullWeights {
  checkStored(distinct(model), tensors)
  return trainedFrom(model, tensors, settings ? startsOf(model, settings) : model.network.weights.map(() => Infinity))
}

/** What was stored, and what is to be trained; the values of the latter come from the base where none were stored. */
function trainedFrom(
  model: Model,
  tensors: Readonly<Record<string, TensorData>>,
  starts: readonly number[],
): FullWeights {
  const made = model.network.weights.flatMap((weight, at) => {
    const start = starts[at] as number
    const isStored = weight.name in tensors
    if (!isStored && !isEverTrained({ start })) return []
    return [replaced(weight, start, () => (isStored ? fileValues(weight, tensors) : baseValues(weight)))]
  })
  return new FullWeights(model, made)
}

/** @throws CodedError `model.unsupported` where one tensor of the file is used in two forms. */
function distinct({ network, record }: Model): readonly NetworkWeight[] {
  if (new Set(network.weights.map(({ name }) => name)).size === network.weights.length) return network.weights
  throw new CodedError('model.unsupported', `The weights of ${record.name} cannot be trained themselves.`, {
    where: 'config.json, tie_word_embeddings',
    fix: 'Train a LoRA adapter on this model.',
  })
}

function replaced(weight: NetworkWeight, start: number, values: () => tf.Tensor): Replaced {
  // Multiplied by 1, because a clone would share the memory that an update writes to.
  const variable = tf.tidy(() => tf.variable(tf.mul(values(), 1), false))
  return { weight, start, variable, matrix: variable.rank === 2 ? FrozenMatrix.over(variable) : null }
}

function free({ matrix, variable }: Replaced): void {
  matrix?.dispose()
  variable.dispose()
}

/** What stands in files: without what was added on the way. */
function baseValues({ value, shift = 0 }: NetworkWeight): tf.Tensor {
  if (value instanceof FrozenMatrix) return value.dequantise()
  return shift === 0 ? value : tf.sub(value, shift)
}

function vectorOf(one: Replaced | undefined): tf.Tensor1D | null {
  if (!one) return null
  const vector = one.variable as tf.Tensor as tf.Tensor1D
  return one.weight.shift ? followsTrained(tf.add(vector, one.weight.shift)) : vector
}

/** The layer that a weight's name says; null outside layers. */
function layerOf({ name }: Pick<NetworkWeight, 'name'>): number | null {
  const [, layer] = /\.(\d+)\./.exec(name) ?? []
  return layer === undefined ? null : Number(layer)
}

function placeOf({ network, config }: Model, weight: NetworkWeight): Place {
  const layer = layerOf(weight)
  if (layer !== null) return layer
  if (!(weight.value instanceof FrozenMatrix)) return 'finish'
  return weight.value === network.head({ overlay: null }) && !config.tied ? 'head' : 'embedding'
}
