/**
 * The run on the Train page, live or as it was left: its numbers, samples, marks, and the sentence that says how it
 * stands. Refuses to compute anything that the engine did not measure.
 */
import { engine } from '../client'
import { CodedError, describeError, toReport, type ErrorReport } from '../shared/errors'
import { bytes, count, figure, timeLeft } from '../shared/format'
import { completeJob, type Job } from '../shared/job'
import { MetricBuffer } from '../shared/metrics'
import type { TrainEvent } from '../shared/protocol'
import type { RunRecord } from '../shared/records'
import { getMetrics, getRun, updateRun, whenRunIsFree } from '../storage'
import { diagnose } from './advice'
import { datasets } from './datasets.svelte'
import { device } from './device.svelte'
import { draft } from './draft.svelte'
import { models } from './models.svelte'
import { readPreference, writePreference } from './preferences'
import { preview } from './preview.svelte'
import { runs } from './runs.svelte'

/** The live region speaks at most this often, in ms. */
const SPEAK_EVERY = 5000

class Training {
  run = $state.raw<RunRecord | null>(null)
  /** Whether this tab is at work on it. */
  live = $state(false)
  asked = $state<'pause' | 'stop' | null>(null)
  stage = $state.raw<{ stage: string; done: number; total: number } | null>(null)
  error = $state.raw<ErrorReport | null>(null)
  tokensPerSecond = $state(Number.NaN)
  secondsLeft = $state<number | null>(null)
  /** Grows with every change of {@link metrics}, which itself is no rune: charts read it when this changes. */
  version = $state(0)
  /** What the live region says. */
  spoken = $state('')
  metrics = new MetricBuffer()
  #spokenAt = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #drawnAt = 0
  #drawing: ReturnType<typeof setTimeout> | undefined

  /** The newest measured value of a column; NaN where there is none. */
  latest(name: 'step' | 'epoch' | 'time' | 'loss' | 'evalLoss' | 'learningRate' | 'gradNorm' | 'memory'): number {
    void this.version
    const column = this.metrics.column(name)
    for (let i = column.length - 1; i >= 0; i--) if (Number.isFinite(column[i])) return column[i] as number
    return Number.NaN
  }

  /** How many rows of numbers there are. */
  entries = $derived.by(() => {
    void this.version
    return this.metrics.length
  })

  /** The step the run is at, which its record learns only at checkpoints. */
  step = $derived.by(() => {
    const measured = this.latest('step')
    return this.live && Number.isFinite(measured) ? measured : (this.run?.step ?? 0)
  })

  /** Looked at about once a second: the curve is read from its start each time. */
  #looks = $derived(this.live ? Math.floor(this.version / 10) : -this.version)
  /** What the curve says; null while there is none. */
  diagnosis = $derived.by(() => {
    void this.#looks
    return this.run && this.metrics.length > 0 ? diagnose(this.metrics, this.run.job) : null
  })

  /** How the run stands, in one line. */
  sentence = $derived.by(() => this.#sentence())

  resumable = $derived(
    !this.live && this.run !== null && ['paused', 'stopped', 'failed', 'new'].includes(this.run.status),
  )

  /** Shows the run that was on this page when it was left, or the one that was interrupted last. */
  async restore(): Promise<void> {
    const known = readPreference('run', '')
    const run = runs.list.find(({ id }) => id === known) ?? runs.list.find(({ status }) => status === 'paused')
    if (run && !this.run) await this.show(run)
  }

  /** Puts a run on the page without starting it. */
  async show(run: RunRecord): Promise<void> {
    if (this.live) return
    const columns = await getMetrics(run.id)
    this.#take(run)
    this.metrics = new MetricBuffer(columns ?? undefined)
    this.version++
    this.#speak(true)
    if (run.status === 'running' || run.status === 'preparing') void this.#awaitOther(run.id)
  }

  /** Takes what was found out about a run that is on the page and at rest. */
  renew(run: RunRecord): void {
    if (!this.live && this.run?.id === run.id) this.run = run
  }

  /** Takes a run that was deleted off the page. */
  forget(id: string): void {
    if (this.live || this.run?.id !== id) return
    this.run = null
    this.error = null
    this.metrics = new MetricBuffer()
    this.version++
    this.#speak(true)
  }

  /** A run that another tab (or this one before it was reloaded) is at work on is shown anew once that lets go of it. */
  async #awaitOther(id: string): Promise<void> {
    await whenRunIsFree(id)
    const run = await getRun(id)
    if (run && !this.live && this.run?.id === id) await this.show(run)
  }

  /** Starts a new run with the draft as it stands. */
  async start(): Promise<void> {
    if (this.live) return
    this.error = null
    this.live = true
    this.stage = { stage: 'Setting up', done: 0, total: 0 }
    this.#speak(true)
    try {
      const job = completeJob({ ...draft.job })
      await refuseTooLarge(job)
      const name = runs.freeName(`${datasets.chosen?.name} on ${models.chosen?.name}`)
      const run = await engine().createRun(job, name)
      this.metrics = new MetricBuffer()
      await this.#follow(run)
    } catch (error) {
      this.#failed(error)
    }
  }

  /** Goes on from the last checkpoint of the run on the page. */
  async resume(): Promise<void> {
    const { run } = this
    if (this.live || !run) return
    this.error = null
    this.live = true
    this.stage = { stage: 'Loading the checkpoint', done: 0, total: 0 }
    this.#speak(true)
    try {
      await this.#follow(run)
    } catch (error) {
      this.#failed(error)
    }
  }

  async pause(): Promise<void> {
    if (!this.live || this.asked) return
    this.asked = 'pause'
    await engine().pause()
  }

  /** Ends the run for good; what it has learnt is kept. */
  async stop(): Promise<void> {
    const { run } = this
    if (this.live) {
      this.asked = 'stop'
      await engine().stop()
    } else if (run) {
      this.run = await updateRun(run.id, { status: 'stopped' })
      await runs.refresh()
      this.#speak(true)
    }
  }

  async #follow(run: RunRecord): Promise<void> {
    this.#take(run)
    this.tokensPerSecond = Number.NaN
    this.secondsLeft = null
    this.version++
    this.#speak(true)
    const work = engine().train(run.id, (event) => this.#on(event))
    // What was asked before the worker had the run is asked again, now that it has.
    if (this.asked) void engine()[this.asked]()
    const ended = await work
    this.#take(ended)
    if (ended.checkpoints.length > 0) void device.keep()
    this.#settle()
  }

  #on(event: TrainEvent): void {
    switch (event.kind) {
      case 'stage':
        this.stage = event
        break
      case 'started':
        this.stage = null
        this.run = event.run
        // Rows younger than the checkpoint are computed again.
        this.metrics.truncateAfter(event.run.step)
        this.version++
        void runs.refresh()
        break
      case 'metrics':
        this.stage = null
        this.metrics.append(event.columns)
        this.tokensPerSecond = event.tokensPerSecond
        this.secondsLeft = event.secondsLeft
        this.#draw()
        break
      case 'sample':
        if (this.run) this.run = { ...this.run, samples: [...this.run.samples, event.sample] }
        break
      case 'mark':
        if (this.run) this.run = { ...this.run, marks: [...this.run.marks, event.mark] }
        // With the best so far comes a checkpoint, which can be talked to.
        void runs.refresh()
        break
      case 'ended':
        this.#take(event.run)
        break
    }
    this.#speak(event.kind === 'started' || event.kind === 'ended')
  }

  /** Tells the charts of new numbers: at once, and the longer the curve is the seldomer, for each time all of it is drawn. */
  #draw(now = false): void {
    const wait = now ? 0 : this.#drawnAt + Math.min(1000, this.metrics.length / 10) - performance.now()
    if (wait > 0) {
      this.#drawing ??= setTimeout(() => this.#draw(true), wait)
      return
    }
    clearTimeout(this.#drawing)
    this.#drawing = undefined
    this.#drawnAt = performance.now()
    this.version++
  }

  #take(run: RunRecord): void {
    this.run = run
    this.error = run.error
    writePreference('run', run.id)
  }

  #failed(error: unknown): void {
    this.error = toReport(error)
    this.#settle()
  }

  #settle(): void {
    this.live = false
    this.asked = null
    this.stage = null
    this.#draw(true)
    this.#speak(true)
    void runs.refresh()
    void device.measureRoom()
    const id = this.run?.id
    // The record may have been settled in storage after the worker died.
    if (id) void getRun(id).then((run) => run && this.run?.id === id && !this.live && (this.run = run))
  }

  #sentence(): string {
    const { run, stage, error } = this
    if (!this.live && error) return describeError(error)
    if (stage) return stage.total > 0 ? `${stage.stage} · ${count(stage.done)} of ${count(stage.total)}` : stage.stage
    if (!run) return ''
    const [loss, measured] = [this.latest('loss'), this.latest('step')]
    const reached = this.live || !(measured > run.step) ? this.step : measured
    const where = `Step ${count(reached)} of ${count(run.totalSteps)}`
    const parts = [where, ...(Number.isFinite(loss) ? [`loss ${figure(loss)}`] : [])]
    if (this.live) {
      if (this.tokensPerSecond > 0) parts.push(`${figure(this.tokensPerSecond)} tokens/s`)
      if (this.asked === 'pause') parts.push('pausing after this step')
      else if (this.asked === 'stop') parts.push('stopping after this step')
      else if (this.secondsLeft !== null) parts.push(timeLeft(this.secondsLeft))
      return parts.join(' · ')
    }
    // Cut off in the middle: what came after the last checkpoint is seen, and done again.
    const again = run.status === 'paused' && reached > run.step
    return [...parts, again ? `Interrupted; resuming goes on from step ${count(run.step)}` : ENDINGS[run.status]].join(
      ' · ',
    )
  }

  /** Lets the live region say the sentence: at once if it matters, else when the last one is old enough. */
  #speak(now: boolean): void {
    clearTimeout(this.#timer)
    const wait = now ? 0 : this.#spokenAt + SPEAK_EVERY - Date.now()
    if (wait > 0) {
      this.#timer = setTimeout(() => this.#speak(true), wait)
      return
    }
    this.spoken = this.#sentence()
    this.#spokenAt = Date.now()
  }
}

const ENDINGS: Record<RunRecord['status'], string> = {
  new: 'not started',
  preparing: 'interrupted',
  running: 'at work in another tab',
  paused: 'Paused',
  stopped: 'Stopped',
  done: 'Done',
  failed: 'Failed',
  imported: 'Imported',
}

/** @throws CodedError `memory.budget` before anything is stored or loaded; the page shows the changes that would make it fit. */
async function refuseTooLarge(job: Job): Promise<void> {
  const { fits, total, budget } = await engine().forecast(job, preview.rowLength)
  if (fits) return
  throw new CodedError(
    'memory.budget',
    `This job needs about ${bytes(total)} at its peak, and ${bytes(budget)} can be had here.`,
    { fix: 'Take one of the changes under Memory, or choose a smaller model.' },
  )
}

export const training = new Training()
