/**
 * Adapters of runs: from a checkpoint, or from elsewhere (PEFT or mlx-lm, folder or zip).
 * Refuses an adapter that does not fit its model.
 */
import { checkpointAdapter, loadTrainable } from '../src/engine'
import { readAdapter } from '../src/engine/formats/adapter-folder'
import { jobOf, type PeftAdapter } from '../src/engine/formats/peft'
import { readZip } from '../src/engine/formats/zip'
import { folderOf, pickedSource, type PickedFile } from '../src/hub'
import { CodedError } from '../src/shared/errors'
import type { FileSource } from '../src/shared/files'
import { newId } from '../src/shared/id'
import { defaultJob } from '../src/shared/job'
import type { CheckpointKind, DatasetRecord, ModelId, RunId, RunRecord } from '../src/shared/records'
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

/** A PEFT or mlx-lm folder or zip as a run of status `imported`; it must fit the model. @throws CodedError `adapter.*` */
export async function importPeft(
  workshop: Workshop,
  modelId: ModelId,
  files: readonly PickedFile[],
): Promise<RunRecord> {
  const picked = files.length === 1 && files[0]?.path.toLowerCase().endsWith('.zip') ? files[0] : null
  const source: FileSource = picked ? await readZip(picked.file) : pickedSource(files)
  const adapter = await readAdapter(await folderOf(source, 'adapter_config.json'))
  const model = await workshop.withModel(
    modelId,
    () => {},
    async (loaded) => {
      await workshop.alone(async () => loadTrainable(loaded, adapter).dispose())
      return loaded.record
    },
  )
  const run = importedRun(await workshop.record(model.id), adapter, nameOf(files))
  await storage.putImportedRun(run, adapter)
  return run
}

function importedRun(model: RunRecord['model'], { config, tensors }: PeftAdapter, name: string): RunRecord {
  const dataset: DatasetRecord = {
    ...{ id: '', name: 'not known', file: '', bytes: 0, rows: 0, problems: 0, why: '', columns: [], addedAt: 0 },
    mapping: { format: 'unknown', columns: {} },
  }
  const elements = Object.values(tensors).reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0)
  const now = Date.now()
  return {
    ...{
      id: newId(),
      name,
      job: { ...defaultJob(), ...jobOf(config), model: model.id },
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
