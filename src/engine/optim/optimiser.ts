/**
 * What moves trained tensors: a rule (AdamW with moments in 32 or 8 bits, SGD, Lion, Muon) over a fixed list of variables, with its
 * running tensors and its own count of updates, all of it readable and restorable. Refuses to know about schedules and clipping: both come as numbers.
 */
import type { Job } from '../../shared/job'
import type { TensorData } from '../../shared/records'
import type { Recorder } from '../ops/replay'
import { readTensor, writeVariable } from '../tensor-data'
import { tf } from '../tf'
import { adamw } from './adamw'
import { adamw8bit } from './adamw-8bit'
import { lion } from './lion'
import { muon } from './muon'
import type { Rule } from './rule'
import { sgd } from './sgd'

/** A trained tensor under the name that it has in files. */
export interface NamedVariable {
  readonly name: string
  readonly variable: tf.Variable
  /** Factor on the learning rate; 1 where left out (LoRA+). */
  readonly rate?: number
}

export interface Optimiser {
  /** Bytes of everything it keeps between updates. */
  readonly bytes: number
  /** One update from gradients in the order of the variables; they stay the caller's, and the same tensors from update to update. */
  update(gradients: readonly tf.Tensor[], learningRate: number, clip: number, recorder: Recorder): void
  /** All it keeps, by name; forces a sync with the device. */
  save(): Promise<Record<string, TensorData>>
  /** Takes up what {@link Optimiser.save} wrote. Throws CodedError `checkpoint.mismatch` where a tensor is missing or misshapen. */
  restore(tensors: Readonly<Record<string, TensorData>>): void
  dispose(): void
}

/** The settings that an optimiser depends on. */
export type OptimiserSettings = Pick<
  Job,
  'optimizer' | 'weightDecay' | 'momentum' | 'adamBeta1' | 'adamBeta2' | 'adamEpsilon'
>

/** The optimiser that a job asks for. */
export function createOptimiser(job: OptimiserSettings, variables: readonly NamedVariable[]): Optimiser {
  return new RuleOptimiser(ruleOf(job), variables)
}

function ruleOf(job: OptimiserSettings): Rule {
  const { weightDecay, momentum } = job
  const settings = { beta1: job.adamBeta1, beta2: job.adamBeta2, epsilon: job.adamEpsilon, weightDecay }
  const adam = adamw(settings)
  switch (job.optimizer) {
    case 'adamw':
      return adam
    case 'adamw-8bit':
      return adamw8bit(settings, adam)
    case 'sgd':
      return sgd({ momentum, weightDecay })
    case 'lion':
      return lion({ momentum, weightDecay })
    case 'muon':
      return muon({ momentum, weightDecay }, adam)
  }
}

/** A rule over variables. */
class RuleOptimiser implements Optimiser {
  readonly #rule: Rule
  readonly #variables: readonly NamedVariable[]
  readonly #slots: readonly { readonly names: readonly string[]; readonly tensors: readonly tf.Variable[] }[]
  #updates = 0

  constructor(rule: Rule, variables: readonly NamedVariable[]) {
    this.#rule = rule
    this.#variables = variables
    this.#slots = variables.map(({ name, variable }) => {
      const slots = Object.entries(rule.slots(variable))
      return {
        names: slots.map(([slot]) => `${rule.name}/${slot}/${name}`),
        tensors: slots.map(([, { shape, dtype }]) =>
          tf.tidy(() => tf.variable(tf.fill([...shape], 0, dtype ?? 'float32'), false)),
        ),
      }
    })
  }

  get bytes(): number {
    return this.#all().reduce((sum, { tensor }) => sum + 4 * tensor.size, 0)
  }

  update(gradients: readonly tf.Tensor[], learningRate: number, clip: number, recorder: Recorder): void {
    this.#updates++
    const same = { clip: recorder.number('clip', clip), step: recorder.number('update', this.#updates) }
    const rates = new Set(this.#variables.map(({ rate = 1 }) => rate))
    const updates = new Map(
      [...rates].map((rate) => {
        return [rate, { ...same, learningRate: recorder.number(`rate ${rate}`, learningRate * rate) }] as const
      }),
    )
    recorder.run('update', () =>
      this.#variables.forEach(({ variable, rate = 1 }, i) => {
        this.#rule.update(variable, gradients[i] as tf.Tensor, this.#slots[i]!.tensors, updates.get(rate)!)
      }),
    )
  }

  async save(): Promise<Record<string, TensorData>> {
    const tensors: Record<string, TensorData> = {}
    for (const { name, tensor } of this.#all()) tensors[name] = await readTensor(tensor)
    const count = new Uint8Array(4)
    new DataView(count.buffer).setInt32(0, this.#updates, true)
    tensors[`${this.#rule.name}/step`] = { dtype: 'I32', shape: [1], bytes: count }
    return tensors
  }

  restore(tensors: Readonly<Record<string, TensorData>>): void {
    for (const { name, tensor } of this.#all()) writeVariable(tensor, tensors, name)
    const count = tensors[`${this.#rule.name}/step`]
    this.#updates = count ? new DataView(count.bytes.buffer, count.bytes.byteOffset).getInt32(0, true) : 0
  }

  dispose(): void {
    for (const { tensor } of this.#all()) tensor.dispose()
    this.#rule.dispose?.()
  }

  #all(): { name: string; tensor: tf.Variable }[] {
    return this.#slots.flatMap(({ names, tensors }) =>
      names.map((name, i) => ({ name, tensor: tensors[i] as tf.Variable })),
    )
  }
}
