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
import type { Rule, Update } from './rule'
import { sgd } from './sgd'

/** A trained tensor under the name that it has in files. */
export interface NamedVariable {
  readonly name: string
  readonly variable: tf.Variable
  /** Factor on the learning rate; 1 where left out (LoRA+). */
  readonly rate?: number
  /** False where weight decay leaves it alone, as transformers does with norms and biases. */
  readonly decays?: boolean
  /** An embedding or a head, which rules for hidden matrices (Muon) hand to AdamW. */
  readonly table?: boolean
}

export interface Optimiser {
  /** Bytes of everything it keeps between updates. */
  readonly bytes: number
  /** One update from gradients in the order of the variables; they stay the caller's, and the same tensors from update to update. */
  update(
    gradients: readonly tf.Tensor[],
    learningRate: number,
    clip: number,
    recorder: Recorder,
    /** Positions of variables that are passed over; the first update of each is its own first. */
    waiting?: ReadonlySet<number>,
  ): void
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
  return new RuleOptimiser(job, variables)
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

/** The rule of each variable: that of the job, without decay or for tables where it is such; few are different. */
function rulesOf(job: OptimiserSettings, variables: readonly NamedVariable[]): Rule[] {
  const made = new Map<string, Rule>()
  return variables.map(({ decays = true, table = false }) => {
    const optimizer = table && job.optimizer === 'muon' ? 'adamw' : job.optimizer
    const key = `${optimizer} ${decays}`
    const rule = made.get(key) ?? ruleOf({ ...job, optimizer, weightDecay: decays ? job.weightDecay : 0 })
    made.set(key, rule)
    return rule
  })
}

/** Rules over variables. */
class RuleOptimiser implements Optimiser {
  /** Name of the count of updates in a checkpoint. */
  readonly #count: string
  readonly #rules: readonly Rule[]
  readonly #variables: readonly NamedVariable[]
  readonly #slots: readonly { readonly names: readonly string[]; readonly tensors: readonly tf.Variable[] }[]
  #updates = 0
  /** Updates that were over when each variable had its first; null while it waits. */
  readonly #before: (number | null)[]

  constructor(job: OptimiserSettings, variables: readonly NamedVariable[]) {
    this.#rules = rulesOf(job, variables)
    const own = ruleOf(job)
    this.#count = `${own.name}/step`
    own.dispose?.()
    this.#variables = variables
    this.#before = variables.map(() => null)
    this.#slots = variables.map(({ name, variable }, i) => {
      const rule = this.#rules[i]!
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

  update(
    gradients: readonly tf.Tensor[],
    learningRate: number,
    clip: number,
    recorder: Recorder,
    waiting: ReadonlySet<number> = new Set(),
  ): void {
    const due = this.#variables.flatMap((_, i) => (waiting.has(i) ? [] : [i]))
    for (const i of due) this.#before[i] ??= this.#updates
    this.#updates++
    const numbers = new Map<string, number | tf.Scalar>()
    const number = (name: string, value: number): number | tf.Scalar => {
      const known = numbers.get(name) ?? recorder.number(name, value)
      numbers.set(name, known)
      return known
    }
    const updates = due.map((i): Update => {
      const [before, rate] = [this.#before[i] as number, this.#variables[i]!.rate ?? 1]
      return {
        clip: number('clip', clip),
        step: number(`update after ${before}`, this.#updates - before),
        learningRate: number(`rate ${rate}`, learningRate * rate),
      }
    })
    recorder.run('update', () =>
      due.forEach((i, at) => {
        const { variable } = this.#variables[i] as NamedVariable
        this.#rules[i]!.update(variable, gradients[i] as tf.Tensor, this.#slots[i]!.tensors, updates[at] as Update)
      }),
    )
  }

  async save(): Promise<Record<string, TensorData>> {
    const tensors: Record<string, TensorData> = {}
    for (const { name, tensor } of this.#all()) tensors[name] = await readTensor(tensor)
    // One count for all, and where some began later than others what was over by then; -1 while one waits.
    const before = this.#before.map((count) => count ?? -1)
    const isPlain = this.#updates === 0 || before.every((count) => count === 0)
    const counts = Int32Array.from(isPlain ? [this.#updates] : [this.#updates, ...before])
    tensors[this.#count] = { dtype: 'I32', shape: [counts.length], bytes: new Uint8Array(counts.buffer) }
    return tensors
  }

  restore(tensors: Readonly<Record<string, TensorData>>): void {
    for (const { name, tensor } of this.#all()) writeVariable(tensor, tensors, name)
    const bytes = tensors[this.#count]?.bytes.slice() ?? new Uint8Array(4)
    const [updates = 0, ...before] = new Int32Array(bytes.buffer)
    this.#updates = updates
    this.#before.forEach((_, i) => {
      const count = before[i] ?? (updates > 0 ? 0 : -1)
      this.#before[i] = count < 0 ? null : count
    })
  }

  dispose(): void {
    for (const { tensor } of this.#all()) tensor.dispose()
    for (const rule of new Set(this.#rules)) rule.dispose?.()
  }

  #all(): { name: string; tensor: tf.Variable }[] {
    return this.#slots.flatMap(({ names, tensors }) =>
      names.map((name, i) => ({ name, tensor: tensors[i] as tf.Variable })),
    )
  }
}
