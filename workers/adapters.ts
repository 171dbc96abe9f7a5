/**
 * Adapters of runs: from a checkpoint or as imported, out as a file that was read back, in from PEFT.
 * Refuses to offer a file that does not hold what the run holds.
 */
import { downloadZip } from 'client-zip'
import { checkpointAdapter, loadAdapter } from '../src/engine'
import { readPeft, writePeft, type PeftAdapter } from '../src/engine/formats/peft'
import { readZip } from '../src/engine/formats/zip'
import { folderOf, pickedSource, type PickedFile } from '../src/hub'
import { CodedError } from '../src/shared/errors'
import type { FileSource, OnProgress } from '../src/shared/files'
import { newId } from '../src/shared/id'
import { defaultJob } from '../src/shared/job'
import type { ExportRequest, ExportResult } from '../src/shared/protocol'
import type { CheckpointKind, DatasetRecord, ModelId, RunId, RunRecord, TensorData } from '../src/shared/records'
import * as storage from '../src/storage'
import type { Workshop } from './workshop'

/**
 * The adapter of a run at a checkpoint (the other one where that is not there), or as it was imported.
 * @throws CodedError `checkpoint.missing`
 */
export async function adapterOf(id: RunId, kind: CheckpointKind, baseName: string): Promise<PeftAdapter> {
  const imported = await storage.loadImportedAdapter(id)
  if (imported) return imported as PeftAdapter
  const other = kind === 'best' ? 'last' : 'best'
  const checkpoint = (await storage.loadCheckpoint(id, kind)) ?? (await storage.loadCheckpoint(id, other))
  if (checkpoint) return checkpointAdapter(checkpoint, baseName)
  throw new CodedError('checkpoint.missing', 'This run has no checkpoint yet.', {
    where: id,
    fix: 'Let it train until its first checkpoint, or pause it, which makes one.',
  })
}

/** A run's adapter as a zip for a person to take away, read back and compared tensor by tensor. */
export async function exportPeft(request: ExportRequest, onProgress: OnProgress): Promise<ExportResult> {
  const run = await storage.getRun(request.runId)
  if (!run) throw new CodedError('run.missing', 'This run is no longer stored.', { where: request.runId })
  if (request.format !== 'peft') {
    throw new CodedError('usage', `The format ${request.format} cannot be written here.`, {
      where: 'format',
      fix: 'Choose "PEFT adapter".',
    })
  }
  const tell = (stage: string, done: number) => onProgress({ stage, done, total: 3, unit: 'items' })
  tell('Reading the checkpoint', 0)
  const adapter = await adapterOf(run.id, request.checkpoint, run.model.name)
  tell('Writing the files', 1)
  const files = writePeft(adapter).map(({ name, bytes }) => ({ name, input: bytes }))
  const blob = await downloadZip(files).blob()
  tell('Reading them back', 2)
  const back = await readPeft(await readZip(blob))
  const verification = compare(adapter, back)
  tell('Done', 3)
  return { name: `${fileName(run.name)}-peft.zip`, blob, verification }
}

/** A PEFT folder or zip as a run of status `imported`; it must fit the model. @throws CodedError `adapter.*` */
export async function importPeft(
  workshop: Workshop,
  modelId: ModelId,
  files: readonly PickedFile[],
): Promise<RunRecord> {
  const picked = files.length === 1 && files[0]?.path.toLowerCase().endsWith('.zip') ? files[0] : null
  const source: FileSource = picked ? await readZip(picked.file) : pickedSource(files)
  const adapter = await readPeft(await folderOf(source, 'adapter_config.json'))
  const model = await workshop.withModel(
    modelId,
    () => {},
    async (loaded) => {
      await workshop.alone(async () => loadAdapter(loaded, adapter).dispose())
      return loaded.record
    },
  )
  const run = importedRun(await workshop.record(model.id), adapter, nameOf(files))
  await storage.putImportedRun(run, adapter)
  return run
}

/** @throws CodedError `export.verify` naming the first tensor that differs. */
function compare(written: PeftAdapter, back: PeftAdapter): string {
  const names = Object.keys(written.tensors)
  const values = names.reduce((sum, name) => sum + (written.tensors[name] as TensorData).bytes.byteLength, 0)
  const wrong = names.find((name) => !sameTensor(written.tensors[name] as TensorData, back.tensors[name]))
  const added = Object.keys(back.tensors).find((name) => !(name in written.tensors))
  if (wrong !== undefined || added !== undefined || names.length === 0) {
    throw new CodedError('export.verify', 'The written adapter does not read back as it is.', {
      where: wrong ?? added ?? 'no tensors',
      fix: 'Export it again; if it happens again, report it.',
    })
  }
  const size = (values / 1e6).toFixed(2)
  return `Read back and compared: all ${names.length} tensors (${size} MB) are the same to the last bit; largest difference 0.`
}

function sameTensor(a: TensorData, b: TensorData | undefined): boolean {
  if (!b || a.dtype !== b.dtype || a.shape.join() !== b.shape.join()) return false
  return a.bytes.byteLength === b.bytes.byteLength && a.bytes.every((byte, at) => byte === b.bytes[at])
}

function importedRun(model: RunRecord['model'], { config, tensors }: PeftAdapter, name: string): RunRecord {
  const targets = Array.isArray(config.target_modules) ? config.target_modules : defaultJob().targets
  const dataset: DatasetRecord = {
    ...{ id: '', name: 'not known', file: '', bytes: 0, rows: 0, problems: 0, why: '', columns: [], addedAt: 0 },
    mapping: { format: 'unknown', columns: {} },
  }
  const settings = { rank: config.r, alpha: config.lora_alpha, dropout: config.lora_dropout ?? 0, targets }
  const elements = Object.values(tensors).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)
  const now = Date.now()
  return {
    ...{
      id: newId(),
      name,
      job: { ...defaultJob(), ...settings, model: model.id },
      model,
      dataset,
      status: 'imported',
    },
    ...{ createdAt: now, updatedAt: now, step: 0, totalSteps: 0, lastLoss: null, bestStep: null, bestEvalLoss: null },
    ...{ trainRows: 0, evalRows: 0, trainableParameters: elements, backend: '', samples: [], marks: [] },
    ...{ checkpoints: [], error: null },
  }
}

function nameOf(files: readonly PickedFile[]): string {
  const path = files[0]?.path ?? ''
  return (path.split('/')[0] ?? '').replace(/\.zip$/i, '') || 'Imported adapter'
}

function fileName(name: string): string {
  return name.replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '') || 'adapter'
}
