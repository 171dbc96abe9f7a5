/**
 * A run's folder: the best adapter at its root as PEFT reads it, the checkpoints to go on from, and what was measured.
 * Refuses to leave half of anything: every part is replaced whole.
 *
 *   OUT/adapter_config.json, adapter_model.safetensors   the best adapter so far (the last one where nothing is evaluated)
 *   OUT/checkpoint-last/, checkpoint-best/                 a PEFT adapter each, with optimizer.safetensors and checkpoint.json
 *   OUT/job.json, metrics.csv, trainer_state.json          settings, curve, and the curve as transformers' Trainer writes it
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { checkpointAdapter, type Tuning } from '../engine'
import { trainerState } from '../engine/export/trainer-state'
import { writePeft } from '../engine/formats/peft'
import { readSafetensorsHeader, readTensor, writeSafetensors } from '../engine/formats/safetensors'
import { CodedError } from '../shared/errors'
import type { NamedFile } from '../shared/files'
import type { MetricColumns } from '../shared/metrics'
import { METRIC_COLUMNS, MetricBuffer, metricsToCsv } from '../shared/metrics'
import type { Checkpoint, CheckpointKind, CheckpointMeta, Mapping, TensorData } from '../shared/records'
import { currentFolder, folderSource, readRange, writeFileSafely, writeFolderSafely } from './folder'

const OPTIMISER_FILE = 'optimizer.safetensors'
const META_FILE = 'checkpoint.json'
const ADAPTER_PREFIX = 'adapter/'

/** What a run's folder says about itself beyond its settings. */
export interface RunNote {
  /** What the rows were taken for, so that prompts are written the same way. */
  mapping: Mapping
  /** The base model as adapter_config.json names it. */
  model: string
  /** Rows that are trained on: a dataset with another number is another dataset. */
  rows: number
  /** Fingerprint of every row in tokens; runs of earlier versions have none. */
  rowsHash?: string
  /** How the graphics card multiplies fastest, by its name: a resumed run computes as it began. */
  tuning?: Readonly<Record<string, Tuning>>
}

/** Stores a checkpoint under its kinds; a best one, or any while there is no best one, also as the adapter of the run. */
export async function storeCheckpoint(
  out: string,
  kinds: readonly CheckpointKind[],
  checkpoint: Checkpoint,
  note: RunNote,
): Promise<void> {
  const adapter = writePeft(checkpointAdapter(checkpoint, note.model))
  const files = [...adapter, ...checkpointFiles(checkpoint, note)]
  for (const kind of kinds) await writeFolderSafely(join(out, `checkpoint-${kind}`), files)
  // A best checkpoint that stands there while this run has none is an earlier run's.
  if (checkpoint.meta.bestStep === null && !kinds.includes('best')) {
    await rm(join(out, 'checkpoint-best'), { recursive: true, force: true })
  }
  if (kinds.includes('best') || checkpoint.meta.bestStep === null) {
    for (const file of adapter) await writeFileSafely(join(out, file.name), file.bytes)
  }
  await writeMeasurements(out, checkpoint.meta, note)
}

/** Settings and curve, for people and other tools. */
async function writeMeasurements(out: string, meta: CheckpointMeta, note: RunNote): Promise<void> {
  const metrics = new MetricBuffer(meta.metrics)
  await writeFileSafely(join(out, 'job.json'), json(meta.job))
  await writeFileSafely(join(out, 'finetab.json'), json(note))
  await writeFileSafely(join(out, 'metrics.csv'), metricsToCsv(metrics))
  await writeFileSafely(join(out, 'trainer_state.json'), json(trainerState(meta)))
}

/**
 * The checkpoint to go on from.
 * @throws CodedError `checkpoint.missing`, `checkpoint.mismatch`.
 */
export async function loadCheckpoint(out: string): Promise<{ checkpoint: Checkpoint; note: RunNote }> {
  const folder = await currentFolder(join(out, 'checkpoint-last'))
  if (folder === null) {
    throw new CodedError('checkpoint.missing', 'There is no checkpoint to resume from.', {
      where: join(out, 'checkpoint-last'),
      fix: 'Check --out, or start a new run without --resume.',
    })
  }
  const source = await folderSource(folder)
  const { meta, note } = parseMeta(new TextDecoder().decode(await source.read(META_FILE)), join(folder, META_FILE))
  const tensors: Record<string, TensorData> = {}
  for (const [file, prefix] of [
    ['adapter_model.safetensors', ADAPTER_PREFIX],
    [OPTIMISER_FILE, ''],
  ] as const) {
    const header = await readSafetensorsHeader(source, file)
    for (const name of header.tensors.keys()) tensors[prefix + name] = await readTensor(source, header, name)
  }
  return { checkpoint: { meta, tensors }, note }
}

/** Whether a folder holds a run that could be resumed. */
export async function hasCheckpoint(out: string): Promise<boolean> {
  return (await currentFolder(join(out, 'checkpoint-last'))) !== null
}

/** What the folder of an adapter says about how it was trained; null for adapters made elsewhere. */
export async function readNote(folder: string): Promise<RunNote | null> {
  try {
    return JSON.parse(new TextDecoder().decode(await readRange(join(folder, 'finetab.json')))) as RunNote
  } catch {
    return null
  }
}

function checkpointFiles(checkpoint: Checkpoint, note: RunNote): NamedFile[] {
  const optimiser = Object.entries(checkpoint.tensors).filter(([name]) => !name.startsWith(ADAPTER_PREFIX))
  const text = json({ ...checkpoint.meta, metrics: plainColumns(checkpoint.meta.metrics), note })
  return [
    { name: OPTIMISER_FILE, bytes: writeSafetensors(Object.fromEntries(optimiser)) },
    { name: META_FILE, bytes: new TextEncoder().encode(text) },
    { name: 'finetab.json', bytes: new TextEncoder().encode(json(note)) },
  ]
}

type StoredMeta = Omit<CheckpointMeta, 'metrics'> & { metrics: Record<string, (number | null)[]>; note: RunNote }

function parseMeta(text: string, where: string): { meta: CheckpointMeta; note: RunNote } {
  let stored: StoredMeta | null
  try {
    stored = JSON.parse(text) as StoredMeta | null
  } catch (error) {
    throw unreadable(where, error)
  }
  if (typeof stored?.version !== 'number') throw unreadable(where)
  if (stored.version !== 1) {
    throw new CodedError('checkpoint.mismatch', `The checkpoint is of version ${String(stored.version)}.`, {
      where,
      fix: 'Resume it with the version of Finetab that made it.',
    })
  }
  const { note, metrics, ...rest } = stored
  if (![note, metrics, rest.job].every((part) => typeof part === 'object' && part !== null)) throw unreadable(where)
  return { meta: { ...rest, metrics: typedColumns(metrics) }, note }
}

function unreadable(where: string, cause?: unknown): CodedError {
  return new CodedError('checkpoint.mismatch', 'The checkpoint cannot be read.', {
    where,
    fix: 'Start a new run without --resume.',
    cause,
  })
}

function plainColumns(columns: MetricColumns): Record<string, (number | null)[]> {
  const plain = (values: Float64Array) => Array.from(values, (value) => (Number.isFinite(value) ? value : null))
  return Object.fromEntries(METRIC_COLUMNS.map((name) => [name, plain(columns[name])]))
}

function typedColumns(plain: Record<string, (number | null)[]>): MetricColumns {
  const typed = (values: (number | null)[] | undefined) =>
    Float64Array.from(values ?? plain.step?.map(() => null) ?? [], (value) => value ?? Number.NaN)
  return Object.fromEntries(METRIC_COLUMNS.map((name) => [name, typed(plain[name])])) as MetricColumns
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}
