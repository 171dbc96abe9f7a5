/**
 * A head that scores classes by the last token, over a LoRA adapter: transformers' `score` of its sequence classifiers, kept as PEFT keeps
 * modules that are trained as a whole. Refuses stored heads that do not fit their classes.
 */
import { CodedError } from '../../shared/errors'
import type { Job } from '../../shared/job'
import type { TensorData } from '../../shared/records'
import type { LoraPeft } from '../formats/peft'
import { hasHead, SCORE_KEY } from '../formats/peft-lora'
import type { Model } from '../models/model'
import type { Overlay } from '../nn/network'
import { readTensor } from '../tensor-data'
import type { tf } from '../tf'
import { misfit, refuseMisfits, storedVariable, variableOf } from './fit'
import { createLora, loadLora, type LoadOptions } from './lora'
import { loraSettings } from './settings'
import type { Trainable, TrainedVariable } from './trainable'

/** An adapter and a head on the device. */
class Classifier implements Trainable {
  /** What the classes are called, in the order of the head's rows. */
  readonly classes: readonly string[]
  /** What it is without its head. */
  readonly body: Trainable
  readonly variables: readonly TrainedVariable[]
  readonly parameters: number
  readonly #score: tf.Variable

  /** @param score `[classes, hidden]`; taken over, as the body is. */
  constructor(body: Trainable, score: tf.Variable, classes: readonly string[]) {
    this.body = body
    this.classes = classes
    this.#score = score
    this.variables = [...body.variables, { name: SCORE_KEY, variable: score, place: 'head' }]
    this.parameters = body.parameters + score.size
  }

  get config(): LoraPeft['config'] {
    const own = { task_type: 'SEQ_CLS', modules_to_save: ['score'], classes: [...this.classes] }
    return { ...(this.body.config as LoraPeft['config']), ...own }
  }

  setStrength(strength: number): void {
    this.body.setStrength(strength)
  }

  overlay(dropoutSeed?: number | tf.Scalar): Overlay {
    return { ...this.body.overlay(dropoutSeed), score: this.#score as tf.Tensor as tf.Tensor2D }
  }

  async toPeft(baseName: string): Promise<LoraPeft> {
    const { tensors } = await this.body.toPeft(baseName)
    const config = { ...this.config, base_model_name_or_path: baseName }
    return { config, tensors: { ...tensors, [SCORE_KEY]: await readTensor(this.#score) } }
  }

  dispose(): void {
    this.body.dispose()
    this.#score.dispose()
  }
}

/** A fresh head over a body: all classes alike, so that it says nothing yet. Takes the body over. */
function freshHead(model: Model, body: Trainable, classes: readonly string[]): Classifier {
  const { hidden } = model.network
  return new Classifier(body, variableOf(new Float32Array(classes.length * hidden), [classes.length, hidden]), classes)
}

/**
 * What a job that learns classes trains: a fresh head over a fresh adapter or a given one, or a given head over its adapter.
 * @throws CodedError `job.invalid` for other methods, for families without such a head, and for a head of other classes.
 */
export function startClassifier(
  model: Model,
  job: Job,
  classes: readonly string[],
  initAdapter: LoraPeft | null,
): Classifier {
  const refuse = (what: string, where: string, fix: string): CodedError => new CodedError('job.invalid', what, { where, fix }) // prettier-ignore
  if (job.method !== 'lora')
    throw refuse('A classification head is trained together with a LoRA adapter.', 'method', 'Set the method to LoRA.')
  if (NO_HEAD.includes(model.record.family))
    throw refuse(`Models of the family ${model.record.family} have no classification head.`, 'objective', 'Learn the labels as answers instead (objective sft).') // prettier-ignore
  if (!initAdapter) return freshHead(model, createLora(model, loraSettings(job), job.seed), classes)
  const ratio = job.loraPlus
  if (!hasHead(initAdapter.config)) return freshHead(model, loadLora(model, initAdapter, { ratio }), classes)
  if (initAdapter.config.classes?.join('\n') !== classes.join('\n'))
    throw refuse('The adapter to start from knows other classes than these rows have.', 'initAdapter', 'Start from a fresh adapter.') // prettier-ignore
  return loadClassifier(model, initAdapter, { ratio })
}

/** Families for which transformers has no sequence classifier. */
const NO_HEAD: readonly string[] = ['granite']

/** A stored head over its adapter. Throws CodedError `adapter.mismatch` listing every bad tensor. */
export function loadClassifier(model: Model, { config, tensors }: LoraPeft, options: LoadOptions = {}): Classifier {
  const count = (tensors[SCORE_KEY] as TensorData | undefined)?.shape[0] ?? 0
  const classes = config.classes ?? Array.from({ length: count }, (_, i) => `class ${i}`)
  const shape = [classes.length, model.network.hidden]
  refuseMisfits(misfit(tensors, SCORE_KEY, shape), config.base_model_name_or_path)
  const rest = Object.fromEntries(Object.entries(tensors).filter(([key]) => key !== SCORE_KEY))
  const body = loadLora(model, { config: { ...config, modules_to_save: null }, tensors: rest }, options)
  return new Classifier(body, storedVariable(tensors, SCORE_KEY, shape), classes)
}
