/**
 * A run's adapter in the form that other tools take, as a zip or in a picked folder, read back and compared before it is offered.
 * Refuses to offer a file that does not hold what the run holds.
 */
import { downloadZip } from 'client-zip'
import { loadTrainable, loadModel, type Model } from '../src/engine'
import { statedLicence } from '../src/engine/export/licence'
import { planExport, type ExportMaterial, type ExportPlan } from '../src/engine/export/plan'
import { compareScores, probeIds, scoresOf } from '../src/engine/export/scores'
import type { OutFile } from '../src/engine/formats/out-file'
import { readZip } from '../src/engine/formats/zip'
import { loadTokenizer } from '../src/engine/tokenizer'
import { loadChatTemplate } from '../src/engine/tokenizer/chat-template'
import { CodedError } from '../src/shared/errors'
import type { FileSource, OnProgress } from '../src/shared/files'
import { MetricBuffer } from '../src/shared/metrics'
import type { ExportRequest, ExportResult } from '../src/shared/protocol'
import type { RunRecord } from '../src/shared/records'
import * as storage from '../src/storage'
import { adapterOf } from './adapters'
import { folderSource, writeIntoFolder } from './picked-folder'
import { bundledModel, isBundled, modelSource } from './sources'
import { refuseOtherModel } from './unchanged'
import type { Workshop } from './workshop'

/** Whole models up to this share of the device's memory are also compared by what they compute. */
const SHARE = 0.25

/** See EngineApi.exportRun. */
export async function exportRun(
  workshop: Workshop,
  request: ExportRequest,
  onProgress: OnProgress,
): Promise<ExportResult> {
  const run = await storage.getRun(request.runId)
  if (!run) {
    throw new CodedError('run.missing', 'This run is no longer stored.', {
      where: request.runId,
      fix: 'It may have been deleted in another tab.',
    })
  }
  // Adapters alone stay what they are; whole models would be made of another base.
  if (request.format === 'merged' || request.format === 'gguf') await refuseOtherModel(workshop, run)
  const step = (stage: string) => onProgress({ stage, done: 0, total: 0, unit: 'items' })
  step('Reading the checkpoint')
  const material = await gather(run, request)
  const plan = await planExport(request.format, material, request.dtype)
  const name = `${plan.stem}-${request.dtype ? `${request.format}-${request.dtype}` : request.format}`
  const files = withProgress(plan.files, onProgress)
  const written = request.folder ? await intoFolder(request.folder, name, files) : await intoZip(name, files)
  try {
    step('Reading them back')
    const { text } = await plan.verify(written.back)
    step('Comparing what it computes')
    const computed = await compareComputed(workshop, run, material, plan, request.format, written.back)
    return { ...written.result, verification: [text, computed].filter(Boolean).join(' ') }
  } catch (error) {
    await written.remove()
    throw error
  }
}

interface Written {
  result: Omit<ExportResult, 'verification'>
  back: FileSource
  remove(): Promise<void>
}

async function intoZip(name: string, files: readonly OutFile[]): Promise<Written> {
  const inputs = files.map((file) => ({ name: file.name, size: file.size, input: file.chunks() }))
  const blob = await downloadZip(inputs).blob()
  const result = { name: `${name}.zip`, bytes: blob.size, blob }
  return { result, back: await readZip(blob), remove: async () => {} }
}

async function intoFolder(
  parent: FileSystemDirectoryHandle,
  name: string,
  files: readonly OutFile[],
): Promise<Written> {
  const folder = await writeIntoFolder(parent, name, files)
  const bytes = files.reduce((sum, { size }) => sum + size, 0)
  const result = { name: `${parent.name}/${folder.name}`, bytes, blob: null }
  const remove = () => parent.removeEntry(folder.name, { recursive: true }).catch(() => {})
  return { result, back: folderSource(folder), remove }
}

/** The files, telling how many bytes of all are written. */
function withProgress(files: readonly OutFile[], onProgress: OnProgress): OutFile[] {
  const total = files.reduce((sum, { size }) => sum + size, 0)
  let done = 0
  return files.map(({ name, size, chunks }) => ({
    name,
    size,
    async *chunks() {
      for await (const chunk of chunks()) {
        yield chunk
        done += chunk.byteLength
        onProgress({ stage: `Writing ${name}`, done, total, unit: 'bytes' })
      }
    },
  }))
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
