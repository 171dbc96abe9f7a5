/**
 * One run from its stored job to its end: loads, encodes, pulls the session's events, keeps what they say and tells the
 * page. Refuses to lose more than what came after the last checkpoint, whatever happens.
 */
import { transfer } from '../src/client/wire'
import { batchesOf, mixOf, prepare, type Prepared } from '../src/data'
import { checkFits, createSession, spareMemory, type Model, type TrainSession } from '../src/engine'
import { CodedError, toReport } from '../src/shared/errors'
import type { Progress } from '../src/shared/files'
import { completeJob } from '../src/shared/job'
import type { OnTrainEvent } from '../src/shared/protocol'
import type { Checkpoint, CheckpointKind, RunId, RunMark, RunRecord, RunStatus } from '../src/shared/records'
import * as storage from '../src/storage'
import { adapterOf } from './adapters'
import { samplePrompt } from './prompts'
import { openDataset } from './sources'
import { measureDevice } from './tuning'
import { noteRows, refuseOtherModel, refuseOtherRows, type RowsNote } from './unchanged'
import type { Workshop } from './workshop'

/** ms between two messages with metrics, and between two writes of them. */
const TELL_EVERY = 100
const KEEP_EVERY = 1000
/** Steps that speed and time left are taken over. */
const WINDOW = 20

/** What the person asks of a run under way; the signal ends preparations, the wish a run between two steps. */
export class Wish {
  asked: 'pause' | 'stop' | null = null
  readonly #abort = new AbortController()
  readonly signal = this.#abort.signal

  ask(what: 'pause' | 'stop'): void {
    this.asked = what
    this.#abort.abort()
  }
}

interface RunOptions {
  /** ms after which a checkpoint is made even where none is due: on a slow device twenty steps are many minutes. */
  saveEvery?: number
}

/**
 * Trains a run from its last checkpoint, or its start, until it ends, fails or is asked to end.
 * @returns its record; a run that fails is returned with its error.
 * @throws CodedError `run.locked`, `run.missing`, `usage`: then the run was not touched.
 */
export async function runJob(
  workshop: Workshop,
  id: RunId,
  tell: OnTrainEvent,
  wish: Wish,
  { saveEvery = 30_000 }: RunOptions = {},
): Promise<RunRecord> {
  return storage.withRunLock(id, async () => {
    await startable(id)
    const began = await storage.updateRun(id, { status: 'preparing', error: null })
    let ended: RunRecord
    try {
      ended = await work(workshop, began, tell, wish, saveEvery)
    } catch (error) {
      ended = await settle(began, wish, error)
    }
    tell({ kind: 'ended', run: ended })
    return ended
  })
}

async function startable(id: RunId): Promise<void> {
  const run = await storage.getRun(id)
  if (!run) {
    throw new CodedError('run.missing', 'This run is no longer stored.', {
      where: id,
      fix: 'It may have been deleted in another tab; start a new one.',
    })
  }
  if (run.status === 'done' || run.status === 'imported') {
    throw new CodedError('usage', 'This run has ended; there is nothing to resume.', {
      where: run.name,
      fix: 'Duplicate it to train with other settings.',
    })
  }
}

async function work(
  workshop: Workshop,
  run: RunRecord,
  tell: OnTrainEvent,
  wish: Wish,
  saveEvery: number,
): Promise<RunRecord> {
  const job = completeJob({ ...run.job })
  const onProgress = ({ stage, done, total }: Progress) => tell({ kind: 'stage', stage, done, total })
  onProgress({ stage: 'Opening the device', done: 0, total: 0, unit: 'items' })
  const device = await workshop.device(job.backend)
  const { backend } = device
  await workshop.alone(() => measureDevice(onProgress, wish.signal))
  return workshop.withModel(
    job.model,
    onProgress,
    async (model) => {
      wish.signal.throwIfAborted()
      const rows = await encodeRows(run, model, onProgress, wish.signal)
      const longest = rows.train.reduce((most, row) => Math.max(most, row.inputIds.length), 0)
      checkFits(model.record, job, longest, await workshop.anyDevice())
      const noted: Partial<RunRecord> & RowsNote = noteRows(rows)
      const checkpoint = (await storage.loadCheckpoint(run.id, 'last')) ?? undefined
      if (checkpoint) {
        await refuseOtherModel(workshop, run)
        refuseOtherRows(run, noted)
      } else {
        noted.model = { ...run.model, fingerprint: await workshop.fingerprint(job.model) }
      }
      const session = await workshop.alone(async () =>
        createSession({
          model,
          job,
          batches: batchesOf(rows, job),
          evalRows: rows.eval,
          samplePrompt: samplePrompt(model, job, rows.eval[0] ?? rows.train[0], run.dataset.mapping),
          initAdapter:
            job.initAdapter && !checkpoint ? await adapterOf(job.initAdapter, 'best', model.record.name) : undefined,
          checkpoint,
          classes: rows.classes,
          spare: spareMemory(model, job, device),
        }),
      )
      try {
        const journey = new Journey(workshop, run.id, session, tell, saveEvery)
        return await journey.go({ ...noted, backend }, wish, checkpoint !== undefined)
      } finally {
        session.dispose()
      }
    },
    job.quantization,
  )
}

/** The rows of a job as it trains on them. */
export async function encodeRows(
  run: Pick<RunRecord, 'job' | 'dataset'>,
  model: Model,
  onProgress: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<Prepared> {
  const { job, dataset } = run
  const { rows, record } = await openDataset(job.data, dataset.revision ?? '')
  const held = job.evalData ? await openDataset(job.evalData) : null
  const evaluation = held ? { rows: held.rows, mapping: held.record.mapping } : undefined
  const mix = await Promise.all(
    mixOf(job).map(async ({ dataset: id, share }) => {
      const other = await openDataset(id)
      return { rows: other.rows, mapping: other.record.mapping, share }
    }),
  )
  const options = { evaluation, mix, total: record.rows, onProgress, signal }
  return prepare(rows, dataset.mapping, model.tokenizer, model.chatTemplate, job, options)
}

/** A session under way: what of it is told and what is kept. */
class Journey {
  readonly #workshop: Workshop
  readonly #id: RunId
  readonly #session: TrainSession
  readonly #tell: OnTrainEvent
  readonly #saveEvery: number
  /** Rows of the session's metrics that were sent, and that are in storage. */
  #sent: number
  #kept: number
  #sentAt = 0
  #keptAt = performance.now()
  #savedAt = performance.now()
  #lastLoss: number | null = null
  readonly #window: { time: number; tokens: number; stepTime: number }[] = []

  constructor(workshop: Workshop, id: RunId, session: TrainSession, tell: OnTrainEvent, saveEvery: number) {
    this.#workshop = workshop
    this.#id = id
    this.#session = session
    this.#tell = tell
    this.#saveEvery = saveEvery
    this.#sent = this.#kept = session.metrics.length
  }

  async go(counts: Partial<RunRecord>, wish: Wish, resumed: boolean): Promise<RunRecord> {
    const session = this.#session
    const { step, totalSteps, trainableParameters } = session
    await storage.replaceMetrics(this.#id, session.metrics.slice())
    if (resumed) session.marks.push({ step, kind: 'resume', text: `Resumed after step ${step}.` })
    const shown = { samples: [...session.samples], marks: [...session.marks] }
    const change = { ...counts, ...shown, status: 'running' as const, step, totalSteps, trainableParameters }
    this.#tell({ kind: 'started', run: await storage.updateRun(this.#id, change) })

    try {
      return await this.#follow(wish)
    } catch (error) {
      // What was measured until the failure is worth seeing; a full disk is the one reason why it may not be kept.
      this.#send(true)
      await this.#keep(true).catch(() => {})
      throw error
    }
  }

  async #follow(wish: Wish): Promise<RunRecord> {
    const events = this.#session.run()
    for (;;) {
      const turn = await this.#workshop.alone(() => events.next())
      if (turn.done) return this.#end('done')
      const event = turn.value
      if (event.kind === 'stage' || event.kind === 'sample' || event.kind === 'mark') this.#tell(event)
      else if (event.kind === 'step') this.#measure(event)
      else if (event.kind === 'checkpoint') {
        await this.#save(event.kinds, event.checkpoint)
      }
      this.#send(false)
      await this.#keep(false)
      // Only here: what is due after a step (evaluation, checkpoint) has either not begun or is done.
      if (event.kind !== 'step') continue
      if (wish.asked) {
        await events.return(undefined as never)
        return this.#leave(wish.asked)
      }
      if (performance.now() - this.#savedAt >= this.#saveEvery) {
        await this.#save(['last'], await this.#workshop.alone(() => this.#session.checkpoint()))
      }
    }
  }

  async #leave(asked: 'pause' | 'stop'): Promise<RunRecord> {
    const { step, marks } = this.#session
    const mark: RunMark =
      asked === 'pause'
        ? { step, kind: 'paused', text: `Paused after step ${step}.` }
        : { step, kind: 'stopped', text: `Stopped after step ${step}.` }
    marks.push(mark)
    this.#tell({ kind: 'mark', mark })
    await this.#save(['last'], await this.#workshop.alone(() => this.#session.checkpoint()))
    return this.#end(asked === 'pause' ? 'paused' : 'stopped')
  }

  async #end(status: RunStatus): Promise<RunRecord> {
    this.#send(true)
    await this.#keep(true)
    return storage.updateRun(this.#id, { status })
  }

  async #save(kinds: readonly CheckpointKind[], checkpoint: Checkpoint): Promise<void> {
    await storage.saveCheckpoint(this.#id, kinds, checkpoint)
    if (!kinds.includes('last')) return
    this.#kept = this.#session.metrics.length
    this.#savedAt = performance.now()
  }

  #measure(event: { loss: number; tokens: number; stepTime: number }): void {
    if (Number.isFinite(event.loss)) this.#lastLoss = event.loss
    this.#window.push({ time: this.#session.time, tokens: event.tokens, stepTime: event.stepTime })
    if (this.#window.length > WINDOW) this.#window.shift()
  }

  /** Tells all metrics since the last time, at most every 100 ms. */
  #send(now: boolean): void {
    const { metrics, totalSteps, step } = this.#session
    if (metrics.length === this.#sent) return
    if (!now && performance.now() - this.#sentAt < TELL_EVERY) return
    const columns = metrics.slice(this.#sent)
    this.#sent = metrics.length
    this.#sentAt = performance.now()
    const [first, last] = [this.#window[0], this.#window.at(-1)]
    const tokens = this.#window.reduce((sum, entry) => sum + entry.tokens, 0)
    const busy = this.#window.reduce((sum, entry) => sum + entry.stepTime, 0)
    // With evaluations and samples in between, as the rest of the run will have them.
    const pace = first && last && last !== first ? (last.time - first.time) / (this.#window.length - 1) : null
    const event = {
      kind: 'metrics' as const,
      columns,
      tokensPerSecond: busy > 0 ? (1000 * tokens) / busy : 0,
      secondsLeft: pace === null ? null : ((totalSteps - step) * pace) / 1000,
    }
    this.#tell(
      transfer(
        event,
        Object.values(columns).map((column) => column.buffer),
      ),
    )
  }

  /** Stores metrics and the record between checkpoints, about once a second. */
  async #keep(now: boolean): Promise<void> {
    const { metrics, step, samples, marks } = this.#session
    if (!now && performance.now() - this.#keptAt < KEEP_EVERY) return
    this.#keptAt = performance.now()
    await storage.appendMetrics(this.#id, metrics.slice(this.#kept))
    this.#kept = metrics.length
    const lastLoss = this.#lastLoss ?? undefined
    const change = { step, samples: [...samples], marks: [...marks] }
    await storage.updateRun(this.#id, lastLoss === undefined ? change : { ...change, lastLoss })
  }
}

/** What stays of a run whose work threw: asked to end while it prepared, or failed; its checkpoints are as they were. */
async function settle(run: RunRecord, wish: Wish, error: unknown): Promise<RunRecord> {
  const asked = wish.asked && toReport(error).code === 'cancelled'
  const status: RunStatus = !asked ? 'failed' : wish.asked === 'stop' ? 'stopped' : 'paused'
  const change = { status, error: asked ? null : toReport(error) }
  try {
    return await storage.updateRun(run.id, change)
  } catch {
    // A disk so full that not even this can be said: the page is told, and the next visit finds the run paused.
    return { ...run, ...change }
  }
}
