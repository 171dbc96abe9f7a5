/**
 * The exponential moving average of trained weights, as torch.optim.swa_utils has it: often better than the last ones and never as noisy.
 * Refuses to be trained: it follows.
 */
import type { TensorData } from '../../shared/records'
import { assign } from '../ops/store'
import { readTensor, writeVariable } from '../tensor-data'
import { tf } from '../tf'
import type { NamedVariable } from './optimiser'

/** Prefix of the weights as trained in a checkpoint, where the adapter's own place holds their average. */
const TRAINED = 'trained/'

export class WeightAverage {
  readonly #variables: readonly NamedVariable[]
  readonly #decay: number
  /** Null until the first update, which is copied. */
  #average: tf.Variable[] | null = null

  constructor(variables: readonly NamedVariable[], decay: number) {
    this.#variables = variables
    this.#decay = decay
  }

  /** Takes in the weights of one more step: average ← decay·average + (1−decay)·weights. */
  follow(): void {
    if (!this.#average) {
      this.#average = this.#variables.map(({ variable }) => tf.tidy(() => tf.variable(tf.mul(variable, 1), false)))
      return
    }
    this.#average.forEach((average, i) => {
      const { variable } = this.#variables[i] as NamedVariable
      tf.tidy(() => assign(average, tf.add(tf.mul(average, this.#decay), tf.mul(variable, 1 - this.#decay))))
    })
  }

  /** Runs work with the average in the place of the weights, which are put back whatever happens. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#exchange()
    try {
      return await work()
    } finally {
      this.#exchange()
    }
  }

  /** The weights as trained, `trained/NAME`; nothing before the first update. Forces a sync with the device. */
  async save(): Promise<Record<string, TensorData>> {
    const tensors: Record<string, TensorData> = {}
    if (!this.#average) return tensors
    for (const { name, variable } of this.#variables) tensors[TRAINED + name] = await readTensor(variable)
    return tensors
  }

  /** Takes up a checkpoint whose adapter, which the variables hold by now, is the average. */
  restore(tensors: Readonly<Record<string, TensorData>>): void {
    if (!this.#variables.some(({ name }) => TRAINED + name in tensors)) return
    this.#average = null
    this.follow()
    for (const { name, variable } of this.#variables) writeVariable(variable, tensors, TRAINED + name)
  }

  dispose(): void {
    for (const average of this.#average ?? []) average.dispose()
  }

  #exchange(): void {
    this.#average?.forEach((average, i) => {
      const { variable } = this.#variables[i] as NamedVariable
      const weights = variable.clone()
      variable.assign(average)
      average.assign(weights)
      weights.dispose()
    })
  }
}
