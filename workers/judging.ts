/**
 * Judging in the page's worker: a run beside its base, its change layer by layer, and rehearsals of a job; what is found about a run
 * is kept on it. Refuses to train while a run does.
 */
import { loadTrainable, type Model } from '../src/engine'
import { classesOf } from '../src/engine/formats/peft'
import { adapterChange } from '../src/engine/formats/change'
import { openWeights } from '../src/engine/formats/checkpoint-index'
import { judge, judgeRows, rehearse, tryPrompting, type JudgeData, type Turn } from '../src/judge'
import { CodedError } from '../src/shared/errors'
import type { OnProgress } from '../src/shared/files'
import type { Job } from '../src/shared/job'
import { completeJob } from '../src/shared/job'
import type { Judgement, PromptingTrial, Rehearsal, RehearsalKind, RehearsalStep } from '../src/shared/judgement'
import type { JudgeRequest } from '../src/shared/protocol'
import type { CheckpointKind, DatasetId, RunId, RunRecord } from '../src/shared/records'
import * as storage from '../src/storage'
import { adapterOf } from './adapters'
import { encodeRows } from './run-job'
import { modelSource, openDataset } from './sources'
import { refuseOtherModel } from './unchanged'
import type { Workshop } from './workshop'

async function runOf(id: RunId): Promise<RunRecord> {
  const run = await storage.getRun(id)
  if (run) return run
  throw new CodedError('run.missing', 'This run is no longer stored.', { where: id, fix: 'Go back to the list.' })
}

async function dataOf(id: DatasetId): Promise<JudgeData> {
  const { record, rows } = await openDataset(id)
  return { open: () => rows, mapping: record.mapping, name: record.name, total: record.rows }
}

/** The rows of a run as they were when it was started. */
async function ownData({ job, dataset }: RunRecord): Promise<JudgeData> {
  const { record, rows } = await openDataset(job.data, dataset.revision ?? '')
  return { open: () => rows, mapping: dataset.mapping, name: dataset.name, total: record.rows }
}

/** See EngineApi.judge. */
export async function judgeRun(
  workshop: Workshop,
  request: JudgeRequest,
  onProgress: OnProgress,
  signal: AbortSignal,
): Promise<RunRecord> {
  const run = await runOf(request.runId)
  // A run of an older version lacks settings that came later.
  const job = completeJob({ ...run.job })
  const own = request.datasetId === null
  const data = own
    ? await (job.evalData ? dataOf(job.evalData) : ownData(run))
    : await dataOf(request.datasetId as DatasetId)
  await refuseOtherModel(workshop, run)
  onProgress({ stage: 'Opening the device', done: 0, total: 0, unit: 'items' })
  const work = async (model: Model) => {
    const turn: Turn = (piece) => workshop.alone(piece)
    const peft = await adapterOf(run.id, request.checkpoint, model.record.name)
    const choice = {
      heldBack: own && !job.evalData,
      limit: request.rows,
      shots: request.shots,
      classes: classesOf(peft),
    }
    const chosen = await judgeRows(data, model, job, choice, signal)
    const adapter = await turn(async () => loadTrainable(model, peft))
    try {
      const { answers, pattern } = request
      const input = { model, adapter, rows: chosen.rows, format: data.mapping.format, answers, pattern, probe: true }
      const judged = await judge({ ...input, turn, onProgress, signal })
      const summary = run.checkpoints.find(({ kind }) => kind === request.checkpoint) ?? run.checkpoints[0]
      const judgement: Judgement = {
        ...{ version: 1, at: Date.now(), step: summary?.step ?? run.step, checkpoint: summary?.kind ?? 'best' },
        ...{ dataset: data.name, rows: rowsOf(own, chosen.heldBack || job.evalData !== ''), shots: request.shots },
        ...judged,
      }
      return await storage.updateRun(run.id, { judgement })
    } finally {
      adapter.dispose()
    }
  }
  return workshop.withModel(run.model.id, onProgress, work, job.quantization)
}

function rowsOf(own: boolean, heldBack: boolean): Judgement['rows'] {
  return !own ? 'another dataset' : heldBack ? 'held back' : 'trained on'
}

/** See EngineApi.measureChange. */
export async function measureChange(
  id: RunId,
  checkpoint: CheckpointKind,
  onProgress: OnProgress,
  signal: AbortSignal,
): Promise<RunRecord> {
  const run = await runOf(id)
  const base = await openWeights(await modelSource(run.model.id))
  const adapter = await adapterOf(id, checkpoint, run.model.name)
  const modules = await adapterChange(base, adapter, (done, total) => {
    signal.throwIfAborted()
    onProgress({ stage: 'Comparing layers', done, total, unit: 'items' })
  })
  const step = run.checkpoints.find(({ kind }) => kind === checkpoint)?.step ?? run.step
  return storage.updateRun(id, { change: { step, modules } })
}

/** See EngineApi.rehearse. */
export async function rehearseJob(
  workshop: Workshop,
  kind: RehearsalKind,
  given: Job,
  onStep: (step: RehearsalStep) => void,
  onProgress: OnProgress,
  signal: AbortSignal,
): Promise<Rehearsal> {
  const job = completeJob({ ...given })
  const { record: dataset } = await openDataset(job.data)
  onProgress({ stage: 'Opening the device', done: 0, total: 0, unit: 'items' })
  await workshop.device(job.backend)
  const work = async (model: Model) => {
    const rows = await encodeRows({ job, dataset }, model, onProgress, signal)
    const initAdapter = job.initAdapter ? await adapterOf(job.initAdapter, 'best', model.record.name) : undefined
    const turn: Turn = (piece) => workshop.alone(piece)
    return rehearse({ kind, model, job, rows, initAdapter, turn, onStep, onProgress, signal })
  }
  return workshop.withModel(job.model, onProgress, work, job.quantization)
}

/** Rows that the base answers with and without examples, and how many examples. */
const PROMPTED = { limit: 12, shots: 3 }

/** See EngineApi.tryPrompting. */
export async function tryPromptingOf(
  workshop: Workshop,
  given: Job,
  onProgress: OnProgress,
  signal: AbortSignal,
): Promise<PromptingTrial> {
  const job = completeJob({ ...given })
  const data = await dataOf(job.data)
  onProgress({ stage: 'Opening the device', done: 0, total: 0, unit: 'items' })
  await workshop.device(job.backend)
  const asAnswers: Job = { ...job, objective: 'sft' }
  const work = async (model: Model) => {
    const { rows } = await judgeRows(data, model, asAnswers, { heldBack: true, ...PROMPTED }, signal)
    const turn: Turn = (piece) => workshop.alone(piece)
    return tryPrompting({ model, rows, format: data.mapping.format, shots: PROMPTED.shots, turn, onProgress, signal })
  }
  return workshop.withModel(job.model, onProgress, work, job.quantization)
}
