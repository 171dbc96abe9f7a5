/**
 * One run of training: adapter, optimiser, batches, metrics; steps one at a time, saved and restored exactly.
 * Refuses hidden state: everything that the next step depends on is in its checkpoint.
 */
import { CodedError } from '../../shared/errors'
import { missedArithmetic } from '../../shared/arithmetic'
import { currentJob, type Job } from '../../shared/job'
import { MetricBuffer } from '../../shared/metrics'
import type {
  BatchSource,
  Checkpoint,
  CheckpointMeta,
  EncodedRow,
  RunMark,
  RunSample,
  TensorData,
} from '../../shared/records'
import { startTrainable, type Start } from '../adapters/start'
import type { Trainable } from '../adapters/trainable'
import { withGuard } from '../device-guard'
import type { Model } from '../models/model'
import { WeightAverage } from '../optim/average'
import { clipFactor } from '../optim/clip'
import { createOptimiser, type Optimiser } from '../optim/optimiser'
import { learningRate } from '../optim/schedule'
import { arithmeticHere, inArithmetic, type Arithmetic } from '../ops/arithmetic'
import { hostBytes } from '../ops/host-weights'
import { Recorder } from '../ops/replay'
import { mixSeed } from '../random'
import { floatsOf, readTensor, writeVariable } from '../tensor-data'
import { tf } from '../tf'
import { backprop, embeddingNoise } from './backprop'
import { checkPositions, countLabels, packBatch, shapeKey, uploadBatch } from './batch'
import { ADAPTER, checkSameJob } from './checkpoint'
import type { SessionEvent, SessionOutcome, StepEvent } from './events'
import { runLoop } from './loop'
import { LossScale } from './loss-scale'
import { objectiveOf } from './objectives/objective'
import { Preferences, type PreferenceResult } from './preferences'
import { totalSteps } from './schedule'
import { Totals } from './totals'

export interface SessionInput extends Start {
  readonly job: Job
  /** The session takes it over; a checkpoint moves its cursor. */
  readonly batches: BatchSource
  readonly evalRows: readonly EncodedRow[]
  /** Ids of the prompt that is answered at each evaluation; null for none. */
  readonly samplePrompt: readonly number[] | null
  /** Bytes that a step may take beyond what is forecast, to compute every layer once instead of twice; 0 where left out. */
  readonly spare?: number
  /** False sends every step through the ops instead of replaying recorded ones: the same numbers, slower. */
  readonly replay?: boolean
  /** The learning rate of each step (from 1) instead of the job's schedule: for range tests. */
  readonly rateAt?: (step: number) => number
}

/** Skipped steps one after the other after which a run goes back to its last good weights. */
const MOST_SKIPPED = 3
/** How often it goes back, at half the learning rate each time, before it gives up. */
const MOST_RETURNS = 3

/** The best evaluation so far and how long ago it was. */
export interface Progress {
  bestStep: number | null
  bestEvalLoss: number | null
  evalsWithoutBest: number
}

/** What a step came to before it moved anything. */
interface StepNumbers {
  readonly loss: number
  /** Global, before clipping. */
  readonly norm: number
  readonly rewards?: PreferenceResult
}

export class TrainSession {
  readonly model: Model
  readonly job: Job
  readonly evalRows: readonly EncodedRow[]
  readonly samplePrompt: readonly number[] | null
  readonly totalSteps: number
  readonly adapter: Trainable
  /** Null in runs that learn next tokens. */
  readonly preferences: Preferences | null
  readonly metrics: MetricBuffer
  readonly samples: RunSample[] = []
  readonly marks: RunMark[] = []
  readonly progress: Progress = { bestStep: null, bestEvalLoss: null, evalsWithoutBest: 0 }
  /** What the products of a step are computed in here, whatever the job asks for. */
  readonly arithmetic: Arithmetic
  /** Replays what comes again: steps of a shape, updates, evaluations. */
  readonly recorder: Recorder
  readonly #spare: number
  readonly #totals: Totals
  /** Null in full precision. */
  readonly #lossScale: LossScale | null
  readonly #batches: BatchSource
  readonly #optimiser: Optimiser
  /** Null where the last weights count. */
  readonly #average: WeightAverage | null
  readonly #rateAt: (step: number) => number
  #step = 0
  #tokensSeen = 0
  #time = 0
  #skipped = 0
  /** The weights and moments of the last checkpoint whose weights were all finite. */
  #good: {
    readonly step: number
    readonly weights: Readonly<Record<string, TensorData>>
    readonly moments: Readonly<Record<string, TensorData>>
  } | null = null

  constructor(input: SessionInput) {
    const { model, checkpoint } = input
    const job = currentJob(input.job)
    this.model = model
    this.job = job
    this.evalRows = input.evalRows
    this.samplePrompt = input.samplePrompt
    this.#rateAt = input.rateAt ?? ((step) => learningRate(job, step, this.totalSteps, this.metrics.column('evalLoss')))
    this.totalSteps = checkpoint?.meta.totalSteps ?? totalSteps(job, input.batches.rows)
    this.#batches = input.batches
    if (checkpoint) checkSameJob(checkpoint.meta.job, job)
    this.adapter = startTrainable(input, job)
    this.#optimiser = createOptimiser(job, this.adapter.variables)
    this.#average = job.ema > 0 ? new WeightAverage(this.adapter.variables, job.ema) : null
    this.#spare = input.spare ?? 0
    this.arithmetic = arithmeticHere(job.arithmetic)
    this.#lossScale = this.arithmetic === 'f32' ? null : new LossScale(checkpoint?.meta.lossScale)
    this.#totals = new Totals(this.adapter.variables)
    const watched = this.adapter.variables.map(({ variable }) => variable)
    this.recorder = new Recorder({ enabled: input.replay ?? true, watched })
    const objective = objectiveOf(job)
    this.preferences =
      objective &&
      new Preferences({
        ...{ model, job, objective, adapter: this.adapter, recorder: this.recorder, batches: this.#batches },
        ...{ evalRows: input.evalRows, totalSteps: this.totalSteps, arithmetic: this.arithmetic },
      })
    this.metrics = new MetricBuffer(checkpoint?.meta.metrics)
    if (checkpoint) this.#restore(checkpoint)
    const missed = missedArithmetic(job.arithmetic, this.arithmetic)
    if (missed && !this.marks.some(({ text }) => text === missed))
      this.marks.push({ step: this.#step, kind: 'arithmetic', text: missed })
  }

  /** Steps done. */
  get step(): number {
    return this.#step
  }

  get trainableParameters(): number {
    return this.adapter.parameters
  }

  /** ms of training so far. */
  get time(): number {
    return this.#time
  }

  /** Adds time that was spent on evaluation. */
  spend(ms: number): void {
    this.#time += ms
  }

  get epoch(): number {
    return this.#batches.cursor().position / this.#batches.rows
  }

  /** Runs to the end. Pause or stop by not pulling any further, after a `step` event; then call {@link TrainSession.checkpoint}. */
  run(): AsyncGenerator<SessionEvent, SessionOutcome> {
    return runLoop(this)
  }

  /**
   * One optimiser step over `gradAccum` batches.
   * @returns the event and, where the step was skipped, its mark.
   * A step whose gradients overflow halves is skipped and halves the loss scale. Three that are skipped in a row for anything else take the run back to the weights of its last checkpoint, at half the learning rate from then on.
   * @throws CodedError `train.not-finite` where that did not help either; `device.*`.
   */
  async advance(): Promise<{ event: StepEvent; mark: RunMark | null }> {
    const started = performance.now()
    const { job } = this
    const step = this.#step + 1
    if (!this.#good) await this.#remember(await this.#optimiser.save())
    // What is recorded reads the base where a weight is trained from now on.
    if (this.adapter.unfreeze?.(Math.floor(this.epoch))) this.recorder.forget()
    const micro = Array.from({ length: job.gradAccum }, () => this.#batches.next())
    const { loss, norm, rewards } = await this.#gradients(micro, step)
    const rate = this.#rateAt(step) * 0.5 ** this.#returns
    const finite = Number.isFinite(loss) && Number.isFinite(norm)
    if (finite) {
      const clip = clipFactor(norm, job.clip) / this.#scale
      this.#optimiser.update(this.#totals.gradients, rate, clip, this.recorder, this.adapter.waiting)
      this.#average?.follow()
      this.#lossScale?.keep()
    }
    // A loss is never scaled: where it is not finite itself, no scale helps.
    const lowered = !finite && Number.isFinite(loss) && this.#lossScale?.lower() === true
    this.recorder.submit()
    const tokens = micro.flat().reduce((sum, row) => sum + row.inputIds.length, 0)
    this.#step = step
    this.#tokensSeen += tokens
    this.#skipped = finite || lowered ? 0 : this.#skipped + 1
    const stepTime = performance.now() - started
    this.#time += stepTime
    const event: StepEvent = {
      kind: 'step',
      step,
      epoch: this.epoch,
      loss: finite ? loss : Number.NaN,
      gradNorm: finite ? norm : Number.NaN,
      learningRate: rate,
      tokens,
      stepTime,
      memory: deviceBytes(),
      ...(rewards ? { rewardMargin: rewards.rewardMargin, rewardAccuracy: rewards.rewardAccuracy } : {}),
    }
    this.metrics.push({ ...metricsOf(event), time: this.#time })
    const mark = finite ? null : lowered ? this.#rescale(step) : this.#skip(step, loss, norm)
    return { event, mark }
  }

  /** Runs work with the weights that are judged and kept: their average where there is one. */
  judged<T>(work: () => Promise<T>): Promise<T> {
    return this.#average ? this.#average.during(work) : work()
  }

  /** All state, so that a session made from it goes on with the same numbers. Forces a sync with the device. */
  async checkpoint(): Promise<Checkpoint> {
    const [{ tensors, config }, moments, trained] = await withGuard(async () => [
      await this.judged(() => this.adapter.toPeft(this.model.record.name)),
      await this.#optimiser.save(),
      (await this.#average?.save()) ?? {},
    ])
    const named = Object.fromEntries(Object.entries(tensors).map(([key, tensor]) => [ADAPTER + key, tensor]))
    const meta: CheckpointMeta = {
      version: 1,
      job: this.job,
      step: this.#step,
      totalSteps: this.totalSteps,
      cursor: this.#batches.cursor(),
      tokensSeen: this.#tokensSeen,
      time: this.#time,
      ...this.progress,
      metrics: this.metrics.slice(),
      samples: [...this.samples],
      marks: [...this.marks],
      adapterConfig: { ...config },
      ...(this.adapter.hasStart ? { hasStart: true } : {}),
      ...(this.#lossScale ? { lossScale: this.#lossScale.save() } : {}),
    }
    await withGuard(() => this.#remember(moments))
    return { meta, tensors: { ...named, ...moments, ...trained, ...this.preferences?.save() } }
  }

  /** Keeps weights and moments to go back to, where the weights are all finite. */
  async #remember(moments: Readonly<Record<string, TensorData>>): Promise<void> {
    const weights: Record<string, TensorData> = {}
    for (const { name, variable } of this.adapter.variables) weights[name] = await readTensor(variable)
    const finite = Object.values(weights).every((tensor) => floatsOf(tensor).every(Number.isFinite))
    if (finite) this.#good = { step: this.#step, weights, moments }
  }

  dispose(): void {
    this.recorder.dispose()
    this.#totals.dispose()
    this.#optimiser.dispose()
    this.#average?.dispose()
    this.adapter.dispose()
  }

  /** Loss (mean over the labels of all micro-batches, or over rows of preferences) and norm; the gradients are in the totals. */
  async #gradients(micro: readonly EncodedRow[][], step: number): Promise<StepNumbers> {
    return this.preferences
      ? this.#preferenceGradients(this.preferences, micro, step)
      : this.#tokenGradients(micro, step)
  }

  async #tokenGradients(micro: readonly EncodedRow[][], step: number): Promise<StepNumbers> {
    const labels = micro.flat().reduce((sum, row) => sum + countLabels(row), 0)
    if (labels === 0)
      throw new CodedError('data.no-trained-tokens', 'None of the tokens of a batch is trained.', {
        where: `rows ${micro.flat().map((row) => row.index + 1).join(', ')}`, // prettier-ignore
        fix: 'Raise the maximum length, or look at these rows on the data page.',
      })
    const work = async (): Promise<{ loss: number; norm: number }> => {
      for (const [m, rows] of micro.entries()) this.#microBatch(rows, m === 0, labels, mixSeed(this.job.seed, step, m))
      const { lossSum, norm } = await this.#totals.read(this.recorder)
      return { loss: lossSum / labels, norm: norm / this.#scale }
    }
    try {
      return await withGuard(work)
    } catch (error) {
      this.recorder.forget() // what was recorded may have been refused by the device
      throw error
    }
  }

  /** Adds the loss and the gradients of some rows to the totals. */
  #microBatch(rows: readonly EncodedRow[], first: boolean, labels: number, seed: number): void {
    const { recorder, model, adapter, job } = this
    const batch = packBatch(rows, tf.getBackend() !== 'webgpu', job.packing, adapter.virtual)
    checkPositions(batch, model)
    const { hidden } = model.network
    const noise = job.neftune > 0 ? embeddingNoise(batch, hidden, job.neftune, seed) : null
    const work = {
      batch,
      labelSmoothing: job.labelSmoothing,
      spare: this.#spare,
      noise: noise && (recorder.put('noise', noise, [batch.ids.length, hidden]) as tf.Tensor2D),
      on: uploadBatch(batch, recorder),
      scale: recorder.number('scale', this.#scale / labels),
      arithmetic: this.arithmetic,
      dropoutSeed: recorder.number('dropout seed', seed, 'int32'),
    }
    inArithmetic(this.arithmetic, () =>
      recorder.run(`train ${first ? 'first' : 'more'}, ${shapeKey(batch)}`, () => {
        const lossSum = backprop(model.network, adapter, work, this.#totals.taker(first))
        this.#totals.addLoss(lossSum, first)
      }),
    )
  }

  async #preferenceGradients(
    preferences: Preferences,
    micro: readonly EncodedRow[][],
    step: number,
  ): Promise<StepNumbers> {
    const rewards = await preferences.gradients(micro, step, (m) => this.#totals.taker(m === 0), this.#scale)
    const { norm } = await withGuard(() => this.#totals.read(this.recorder))
    return { loss: rewards.loss, norm: norm / this.#scale, rewards }
  }

  /** Factor on the loss that gradients carry. */
  get #scale(): number {
    return this.#lossScale?.factor ?? 1
  }

  #rescale(step: number): RunMark {
    const text = `Step ${step} was skipped: its gradients were too large for half precision, so the loss is now scaled by ${this.#scale}.`
    const mark: RunMark = { step, kind: 'rescaled', text }
    this.marks.push(mark)
    return mark
  }

  #skip(step: number, loss: number, norm: number): RunMark {
    const what = Number.isFinite(loss) ? `the gradient norm was ${norm}` : `the loss was ${loss}`
    const mark: RunMark = { step, kind: 'skipped', text: `Step ${step} was skipped: ${what}.` }
    if (this.#skipped >= MOST_SKIPPED) this.#goBack(mark, what)
    this.marks.push(mark)
    return mark
  }

  /** How often this run went back to earlier weights. */
  get #returns(): number {
    return this.marks.filter(({ kind }) => kind === 'rolled-back').length
  }

  /** Takes up the last weights that were good, with their moments; data and steps go on. Says so in the mark. */
  #goBack(mark: RunMark, what: string): void {
    const good = this.#good
    if (!good || this.#returns >= MOST_RETURNS)
      throw new CodedError('train.not-finite', `${MOST_SKIPPED} steps in a row had no finite gradient: ${what}.`, {
        where: `step ${mark.step}`,
        fix: `Start again ${this.arithmetic === 'f32' ? '' : 'in full precision (Arithmetic), or '}with a third of the learning rate, or resume from the best checkpoint.`,
      })
    for (const { name, variable } of this.adapter.variables) writeVariable(variable, good.weights, name)
    this.#optimiser.restore(good.moments)
    this.#skipped = 0
    mark.kind = 'rolled-back'
    mark.text = `${MOST_SKIPPED} steps in a row had no finite gradient (${what}): back to the weights of step ${good.step}, at half the learning rate.`
  }

  #restore({ meta, tensors }: Checkpoint): void {
    this.#optimiser.restore(tensors)
    this.#average?.restore(tensors)
    this.preferences?.restore(tensors)
    this.#batches.restore(meta.cursor)
    this.#step = meta.step
    this.#tokensSeen = meta.tokensSeen
    this.#time = meta.time
    this.samples.push(...meta.samples)
    this.marks.push(...meta.marks)
    Object.assign(this.progress, {
      bestStep: meta.bestStep,
      bestEvalLoss: meta.bestEvalLoss,
      evalsWithoutBest: meta.evalsWithoutBest,
    })
    const skipped = new Set(meta.marks.filter((mark) => mark.kind === 'skipped').map((mark) => mark.step))
    while (skipped.has(meta.step - this.#skipped)) this.#skipped++
  }
}

/** Bytes on the device: what the GPU really holds where that is known, with the packed weights that lie beside the wasm backend. */
export function deviceBytes(): number {
  const memory = tf.memory() as tf.MemoryInfo & { numBytesAllocatedInGPU?: number }
  return memory.numBytesAllocatedInGPU ?? memory.numBytes + hostBytes()
}

function metricsOf(event: StepEvent): Omit<StepEvent, 'kind'> {
  const { kind: _kind, ...row } = event
  return row
}
