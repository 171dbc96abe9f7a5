/**
 * A run's adapter in the form that other tools take, read back and compared before it is offered.
 * Refuses to offer a file that does not hold what the run holds.
 */
import { loadTrainable, loadModel, type Model } from '../src/engine'
import { statedLicence } from '../src/engine/export/licence'
import { planExport, type ExportMaterial, type ExportPlan } from '../src/engine/export/plan'
import { compareScores, probeIds, scoresOf } from '../src/engine/export/scores'
import { loadTokenizer } from '../src/engine/tokenizer'
import { loadChatTemplate } from '../src/engine/tokenizer/chat-template'
import { CodedError } from '../src/shared/errors'
import type { FileSource, OnProgress } from '../src/shared/files'
import { MetricBuffer } from '../src/shared/metrics'
import type { ExportRequest, ExportResult } from '../src/shared/protocol'
import type { RunId, RunRecord } from '../src/shared/records'
import * as storage from '../src/storage'
import { adapterOf } from './adapters'
import { deliver } from './deliver'
import { bundledModel, isBundled, modelSource } from './sources'
import { refuseOtherModel } from './unchanged'
import type { Workshop } from './workshop'

/** Whole models up to this share of the device's memory are also compared by what they compute. */
const SHARE = 0.25

/** @throws CodedError `run.missing` */
export async function storedRun(id: RunId): Promise<RunRecord> {
  const run = await storage.getRun(id)
  if (run) return run
  throw new CodedError('run.missing', 'This run is no longer stored.', {
    where: id,
    fix: 'It may have been deleted in another tab.',
  })
}

/** See EngineApi.exportRun. */
export async function exportRun(
  workshop: Workshop,
  request: ExportRequest,
  onProgress: OnProgress,
  signal: AbortSignal,
): Promise<ExportResult> {
  const run = await storedRun(request.runId)
  // Adapters alone stay what they are; whole models would be made of another base.
  if (request.format === 'merged' || request.format === 'gguf') await refuseOtherModel(workshop, run)
  const step = (stage: string) => onProgress({ stage, done: 0, total: 0, unit: 'items' })
  step('Reading the checkpoint')
  const material = await gather(run, request)
  const plan = await planExport(request.format, material, request.dtype)
  return deliver({
    ...{ files: plan.files, folder: request.folder, onProgress, signal },
    name: `${plan.stem}-${request.dtype ? `${request.format}-${request.dtype}` : request.format}`,
    async check(back) {
      step('Reading them back')
      const { text } = await plan.verify(back)
      step('Comparing what it computes')
      const computed = await compareComputed(workshop, run, material, plan, request.format, back)
      return [text, computed].filter(Boolean).join(' ')
    },
  })
}

/** What the written model makes of a few tokens against base and adapter; empty where that is not compared. */
async function compareComputed(
  workshop: Workshop,
  run: RunRecord,
  { adapter }: ExportMaterial,
  { stem }: ExportPlan,
  format: ExportRequest['format'],
  back: FileSource,
): Promise<string> {
  if (format !== 'merged') return ''
  const { budget } = await workshop.anyDevice()
  if (run.model.parameters * 4 > budget * SHARE) return 'It is too large for this device to compare its logits too.'
  const wanted = await workshop.withModel(
    run.job.model,
    () => {},
    (model) => workshop.alone(() => adaptedScores(model, adapter)),
  )
  return workshop.alone(async () => {
    const model = await loadModel(back, { id: `export:${stem}`, name: stem })
    try {
      const written = await scoresOf(model, null, probeIds(model))
      return compareScores(wanted, written, model.record.dtype).text
    } finally {
      model.dispose()
    }
  })
}

async function adaptedScores(model: Model, peft: ExportMaterial['adapter']): Promise<Float32Array> {
  const adapter = loadTrainable(model, peft)
  try {
    return await scoresOf(model, adapter, probeIds(model))
  } finally {
    adapter.dispose()
  }
}

async function gather(run: RunRecord, request: ExportRequest): Promise<ExportMaterial> {
  const base = await modelSource(run.job.model)
  const tokenizer = await loadTokenizer(base)
  return {
    adapter: await adapterOf(run.id, request.checkpoint, run.model.name),
    base,
    model: run.model,
    licence: isBundled(run.job.model) ? (await bundledModel(run.job.model)).licence : await statedLicence(base),
    tokenizer,
    template: await loadChatTemplate(base, tokenizer),
    name: run.name,
    training: run.status === 'imported' ? null : await trainingOf(run),
  }
}

async function trainingOf(run: RunRecord): Promise<ExportMaterial['training']> {
  const { dataset, job, trainRows, evalRows, step, totalSteps, lastLoss, bestStep, bestEvalLoss } = run
  const metrics = (await storage.getMetrics(run.id)) ?? new MetricBuffer().slice()
  const tokensSeen = metrics.tokens.reduce((sum, value) => sum + (Number.isFinite(value) ? value : 0), 0)
  return {
    data: { name: dataset.name, description: dataset.description, trainRows, evalRows },
    mapping: dataset.mapping,
    ...{ job, step, totalSteps, tokensSeen, lastLoss, bestStep, bestEvalLoss, metrics },
  }
}
