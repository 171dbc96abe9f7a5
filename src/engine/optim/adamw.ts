/**
 * AdamW over a fixed list of variables with its moments and its own count of updates, all of it readable and restorable.
 * Refuses to know about schedules and clipping: both come as numbers.
 */
import type { TensorData } from '../../shared/records'
import { adamwUpdate } from '../ops'
import { readTensor, writeVariable } from '../tensor-data'
import { tf } from '../tf'

export interface AdamSettings {
  beta1: number
  beta2: number
  epsilon: number
  weightDecay: number
}

/** A trained tensor under the name that it has in files. */
export interface NamedVariable {
  readonly name: string
  readonly variable: tf.Variable
}

export class AdamW {
  readonly #settings: AdamSettings
  readonly #parameters: readonly NamedVariable[]
  readonly #m: readonly tf.Variable[]
  readonly #v: readonly tf.Variable[]
  #updates = 0

  constructor(parameters: readonly NamedVariable[], settings: AdamSettings) {
    this.#settings = settings
    this.#parameters = parameters
    const zeros = ({ variable }: NamedVariable): tf.Variable =>
      tf.tidy(() => tf.variable(tf.fill(variable.shape, 0), false))
    this.#m = parameters.map(zeros)
    this.#v = parameters.map(zeros)
  }

  /** Bytes of both moments. */
  get bytes(): number {
    return this.#parameters.reduce((sum, { variable }) => sum + 8 * variable.size, 0)
  }

  /** One update from gradients in the order of the parameters; they stay the caller's. */
  update(gradients: readonly tf.Tensor[], learningRate: number, clip: number): void {
    this.#updates++
    const hyper = { ...this.#settings, learningRate, clip, step: this.#updates }
    this.#parameters.forEach(({ variable }, i) => {
      adamwUpdate(variable, gradients[i] as tf.Tensor, this.#m[i] as tf.Variable, this.#v[i] as tf.Variable, hyper)
    })
  }

  /** `adam/m/NAME`, `adam/v/NAME` and `adam/step`; forces a sync with the device. */
  async save(): Promise<Record<string, TensorData>> {
    const tensors: Record<string, TensorData> = {}
    for (const [i, { name }] of this.#parameters.entries()) {
      tensors[`adam/m/${name}`] = await readTensor(this.#m[i] as tf.Tensor)
      tensors[`adam/v/${name}`] = await readTensor(this.#v[i] as tf.Tensor)
    }
    const count = new Uint8Array(4)
    new DataView(count.buffer).setInt32(0, this.#updates, true)
    tensors['adam/step'] = { dtype: 'I32', shape: [1], bytes: count }
    return tensors
  }

  /** Takes up what {@link AdamW.save} wrote. Throws CodedError `checkpoint.mismatch` where a tensor is missing or misshapen. */
  restore(tensors: Readonly<Record<string, TensorData>>): void {
    this.#parameters.forEach(({ name }, i) => {
      writeVariable(this.#m[i] as tf.Variable, tensors, `adam/m/${name}`)
      writeVariable(this.#v[i] as tf.Variable, tensors, `adam/v/${name}`)
    })
    const count = tensors['adam/step']
    this.#updates = count ? new DataView(count.bytes.buffer, count.bytes.byteOffset).getInt32(0, true) : 0
  }

  dispose(): void {
    for (const variable of [...this.#m, ...this.#v]) variable.dispose()
  }
}
