/**
 * What moves trained tensors: a rule (AdamW with moments in 32 or 8 bits, SGD, Lion, Muon) over a fixed list of variables, with its
 * running tensors and its own count of updates, all of it readable and restorable. Refuses to know about schedules and clipping: both come as numbers.
 */
import type { Job } from '../../shared/job'
import type { TensorData } from '../../shared/records'
import { adamwUpdates, changingNumbers, type AdamMove, type AdamSettings } from '../ops'
import { flatParts, partTensor, readParts, type FlatPart } from '../ops/flat'
import type { Recorder } from '../ops/replay'
import { readTensor, writePart, writeVariable } from '../tensor-data'
import { tf } from '../tf'
import { adamw8bit, MIN_8BIT } from './adamw-8bit'
import { lion } from './lion'
import { muon } from './muon'
import type { Rule, Slot } from './rule'
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
  /** One update from gradients in the order of the variables; they stay the caller's, and in the same buffers from update to update. */
  update(
    gradients: readonly FlatPart[],
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
type OptimiserSettings = Pick<Job, 'optimizer' | 'weightDecay' | 'momentum' | 'adamBeta1' | 'adamBeta2' | 'adamEpsilon'>

/** The optimiser that a job asks for. */
export function createOptimiser(job: OptimiserSettings, variables: readonly NamedVariable[]): Optimiser {
  return new RuleOptimiser(job, variables)
}

/** What checkpoints call an optimiser. */
const NAMES: Record<Job['optimizer'], string> = {
  adamw: 'adam',
  'adamw-8bit': 'adam8bit',
  sgd: 'sgd',
  lion: 'lion',
  muon: 'muon',
}

/** The rule of a kind; null for AdamW, which moves many tensors at once. */
function ruleOf(optimizer: Job['optimizer'], job: OptimiserSettings, weightDecay: number): Rule | null {
  switch (optimizer) {
    case 'adamw':
      return null
    case 'adamw-8bit':
      return adamw8bit({ ...adamSettings(job), weightDecay })
    case 'sgd':
      return sgd({ momentum: job.momentum, weightDecay })
    case 'lion':
      return lion({ momentum: job.momentum, weightDecay })
    case 'muon':
      return muon({ momentum: job.momentum, weightDecay })
  }
}

function adamSettings({ adamBeta1: beta1, adamBeta2: beta2, adamEpsilon: epsilon }: OptimiserSettings): AdamSettings {
  return { beta1, beta2, epsilon }
}

/** What moves a variable: what the job says, or AdamW where that is nothing for it. */
function optimizerOf({ optimizer }: OptimiserSettings, { variable, table }: NamedVariable): Job['optimizer'] {
  const isMatrix = variable.shape.length === 2 && Math.min(...variable.shape) > 1
  if (optimizer === 'muon') return isMatrix && !table ? optimizer : 'adamw'
  if (optimizer === 'adamw-8bit') return variable.size < MIN_8BIT ? 'adamw' : optimizer
  return optimizer
}

/** A tensor that is kept between updates: one of its own, or a part of a buffer. */
interface Running {
  readonly name: string
  readonly shape: readonly number[]
  readonly held: tf.Variable | FlatPart
}

/** A trained variable with what moves it. */
interface Member extends NamedVariable {
  readonly weightDecay: number
  /** Null for AdamW. */
  readonly rule: Rule | null
  readonly running: readonly Running[]
}

/** The variables with rules, of which few are different, and running tensors. */
function membersOf(job: OptimiserSettings, variables: readonly NamedVariable[]): Member[] {
  const optimizers = variables.map((one) => optimizerOf(job, one))
  const sizes = variables.flatMap(({ variable }, i) => (optimizers[i] === 'adamw' ? [variable.size] : []))
  const [firsts, seconds] = [flatParts(sizes), flatParts(sizes)]
  const rules = new Map<string, Rule | null>()
  return variables.map((one, i) => {
    const { name, variable, decays = true, table = false } = one
    const optimizer = optimizers[i]!
    const weightDecay = decays ? job.weightDecay : 0
    const key = `${optimizer} ${decays}`
    if (!rules.has(key)) rules.set(key, ruleOf(optimizer, job, weightDecay))
    const rule = rules.get(key)!
    // A table that Muon leaves to AdamW is named after that, everything else after what the job says.
    const prefix = NAMES[table && job.optimizer === 'muon' ? 'adamw' : job.optimizer]
    const { shape } = variable
    const running = rule
      ? Object.entries(rule.slots(variable)).map(([slot, own]) => ({ slot, shape: own.shape, held: zeros(own) }))
      : [
          { slot: 'm', shape, held: firsts.shift()! },
          { slot: 'v', shape, held: seconds.shift()! },
        ]
    return {
      ...{ ...one, weightDecay, rule },
      running: running.map(({ slot, ...rest }) => ({ name: `${prefix}/${slot}/${name}`, ...rest })),
    }
  })
}

function zeros({ shape, dtype }: Slot): tf.Variable {
  return tf.tidy(() => tf.variable(tf.fill([...shape], 0, dtype ?? 'float32'), false))
}

/** A number under a name, where it can change though the update is recorded. */
type ChangingNumber = (name: string, value: number) => number | tf.Scalar

/** Rules over variables. */
class RuleOptimiser implements Optimiser {
  /** Name of the count of updates in a checkpoint. */
  readonly #count: string
  readonly #settings: AdamSettings
  readonly #members: readonly Member[]
  #updates = 0
  /** Updates that were over when each variable had its first; null while it waits. */
  readonly #before: (number | null)[]

  constructor(job: OptimiserSettings, variables: readonly NamedVariable[]) {
    this.#count = `${NAMES[job.optimizer]}/step`
    this.#settings = adamSettings(job)
    this.#members = membersOf(job, variables)
    this.#before = variables.map(() => null)
  }

  get bytes(): number {
    return this.#running.reduce((sum, { held }) => sum + 4 * held.size, 0)
  }

  update(
    gradients: readonly FlatPart[],
    learningRate: number,
    clip: number,
    recorder: Recorder,
    waiting: ReadonlySet<number> = new Set(),
  ): void {
    const due = this.#members.flatMap((_, i) => (waiting.has(i) ? [] : [i]))
    for (const i of due) this.#before[i] ??= this.#updates
    this.#updates++
    const moves = due.flatMap((i) => this.#move(i, gradients[i] as FlatPart, learningRate))
    const numbers = moves.length > 0 ? recorder.put('adamw', changingNumbers(moves, clip)) : null
    const known = new Map<string, number | tf.Scalar>()
    const number: ChangingNumber = (name, value) => {
      if (!known.has(name)) known.set(name, recorder.number(name, value))
      return known.get(name)!
    }
    const others = due.flatMap((i) => this.#other(i, gradients[i] as FlatPart, { learningRate, clip, number }))
    recorder.run('update', () => {
      if (numbers) adamwUpdates(moves, this.#settings, clip, numbers)
      for (const move of others) tf.tidy(move)
    })
  }

  /** What AdamW does with a member; nothing where another rule moves it. */
  #move(at: number, gradient: FlatPart, learningRate: number): AdamMove[] {
    const { variable: param, weightDecay, rate = 1, rule, running } = this.#members[at]!
    if (rule) return []
    const [m, v] = running.map(({ held }) => held) as [FlatPart, FlatPart]
    const step = this.#updates - this.#before[at]!
    return [{ param, gradient, m, v, weightDecay, learningRate: learningRate * rate, step }]
  }

  /** What a rule does with a member; nothing where AdamW moves it. */
  #other(
    at: number,
    gradient: FlatPart,
    { learningRate, clip, number }: { learningRate: number; clip: number; number: ChangingNumber },
  ): (() => void)[] {
    const { variable, rate = 1, rule, running } = this.#members[at]!
    if (!rule) return []
    const slots = running.map(({ held }) => held as tf.Variable)
    const before = this.#before[at]!
    const update = {
      clip: number('clip', clip),
      step: number(`update after ${before}`, this.#updates - before),
      learningRate: number(`rate ${rate}`, learningRate * rate),
    }
    return [() => rule.update(variable, partTensor(gradient, variable.shape), slots, update)]
  }

  async save(): Promise<Record<string, TensorData>> {
    const tensors: Record<string, TensorData> = {}
    const parts = this.#running.flatMap(({ held }) => (held instanceof tf.Variable ? [] : [held]))
    const values = await readParts(parts)
    for (const { name, shape, held } of this.#running) {
      if (held instanceof tf.Variable) tensors[name] = await readTensor(held)
      else tensors[name] = { dtype: 'F32', shape: [...shape], bytes: new Uint8Array(values.shift()!.buffer) }
    }
    // One count for all, and where some began later than others what was over by then; -1 while one waits.
    const before = this.#before.map((count) => count ?? -1)
    const isPlain = this.#updates === 0 || before.every((count) => count === 0)
    const counts = Int32Array.from(isPlain ? [this.#updates] : [this.#updates, ...before])
    tensors[this.#count] = { dtype: 'I32', shape: [counts.length], bytes: new Uint8Array(counts.buffer) }
    return tensors
  }

  restore(tensors: Readonly<Record<string, TensorData>>): void {
    for (const { name, shape, held } of this.#running) {
      if (held instanceof tf.Variable) writeVariable(held, tensors, name)
      else writePart(held, shape, tensors, name)
    }
    const bytes = tensors[this.#count]?.bytes.slice() ?? new Uint8Array(4)
    const [updates = 0, ...before] = new Int32Array(bytes.buffer)
    this.#updates = updates
    this.#before.forEach((_, i) => {
      const count = before[i] ?? (updates > 0 ? 0 : -1)
      this.#before[i] = count < 0 ? null : count
    })
  }

  dispose(): void {
    const held = this.#running.map((running) => running.held)
    tf.dispose([...new Set(held.map((one) => (one instanceof tf.Variable ? one : one.flat)))])
    for (const rule of new Set(this.#members.map((member) => member.rule))) rule?.dispose?.()
  }

  /** In the order of the variables. */
  get #running(): Running[] {
    return this.#members.flatMap(({ running }) => running)
  }
}
