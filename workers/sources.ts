/**
 * What an id in a job stands for: a model's files, a dataset's record and rows. Used by both workers.
 * Refuses ids it does not know.
 */
import { pageBase } from '../src/client/wire'
import {
  fingerprint,
  importFile,
  resolveStep,
  SteppedRows,
  type RawRow,
  type StepOptions,
  type StoredSource,
} from '../src/data'
import { asModelFolder } from '../src/engine/formats/gguf-source'
import { bundledSource, fetchSample, listBundled, listSamples, type BundledModel, type SampleDataset } from '../src/hub'
import { CodedError } from '../src/shared/errors'
import type { FileSource } from '../src/shared/files'
import type { DatasetId, DatasetRecord, ModelId } from '../src/shared/records'
import type { Step, StepHistory } from '../src/shared/steps'
import * as storage from '../src/storage'

/** Remembers promises that succeed. */
export class Once<T> {
  readonly #kept = new Map<string, Promise<T>>()

  get(key: string, make: () => Promise<T>): Promise<T> {
    const promise = this.#kept.get(key) ?? make()
    this.#kept.set(key, promise)
    promise.catch(() => this.#kept.delete(key))
    return promise
  }

  forget(key: string): void {
    this.#kept.delete(key)
  }
}

const bundled = new Once<BundledModel[]>()
const stored = new Once<FileSource>()
const samples = new Once<SampleDataset[]>()
const sampleRows = new Once<{ record: DatasetRecord; rows: RawRow[] }>()

/** The models that come with the page. */
export function bundledModels(): Promise<BundledModel[]> {
  return bundled.get('', () => listBundled(pageBase()))
}

/** One of them by the id of its record. @throws CodedError `file.missing` */
export async function bundledModel(id: ModelId): Promise<BundledModel> {
  const model = (await bundledModels()).find((candidate) => `bundled:${candidate.id}` === id)
  if (model) return model
  throw new CodedError('file.missing', 'This page comes without that model.', {
    where: id,
    fix: 'Choose another model, or add a model folder.',
  })
}

/** The files of a model. @throws CodedError `file.missing` */
export async function modelSource(id: ModelId): Promise<FileSource> {
  // The head of a GGUF file, with its whole vocabulary, is read once.
  if (!isBundled(id)) return stored.get(id, () => asModelFolder(storage.modelSource(id)))
  return bundledSource(pageBase(), await bundledModel(id))
}

/**
 * A dataset's record and rows as they are after its steps, read a stretch at a time where it is stored.
 * @param revision the state that a run was started on; as it is now if left out.
 * @throws CodedError `file.missing`, `checkpoint.mismatch`
 */
export async function openDataset(
  id: DatasetId,
  revision?: string,
): Promise<{ record: DatasetRecord; rows: SteppedRows; history: StepHistory; file: DatasetRecord }> {
  const { record, source } = await openFile(id)
  const history = revision === undefined ? await storage.readSteps(id) : await stepsOf(id, revision)
  const rows = SteppedRows.of(source, record.mapping, record.columns, history.done)
  return { record: { ...record, ...overlayOf(rows, history.done) }, rows, history, file: record }
}

/** Puts other steps on a dataset, working out those that are not yet. */
export async function putSteps(id: DatasetId, wanted: StepHistory, options: StepOptions): Promise<void> {
  const { record, source } = await openFile(id)
  let rows = SteppedRows.of(source, record.mapping, record.columns)
  const done: Step[] = []
  for (const step of wanted.done) {
    const resolved = await resolveStep(rows, step, options)
    rows = rows.after(resolved)
    done.push(resolved)
  }
  await storage.putSteps(id, { done, undone: wanted.undone }, overlayOf(rows, done))
}

async function stepsOf(id: DatasetId, revision: string): Promise<StepHistory> {
  const done = revision === '' ? [] : await storage.readRevision(id, revision)
  if (done) return { done, undone: [] }
  throw new CodedError('checkpoint.mismatch', 'The dataset is no longer as this run found it.', {
    where: id,
    fix: 'Start a new run with the dataset as it is now; what this one has learnt can still be used and exported.',
  })
}

/** What a record says after steps. */
function overlayOf(rows: SteppedRows, steps: readonly Step[]): storage.Overlay {
  const { mapping, count, columns } = rows
  const revision = steps.length === 0 ? '' : revisionOf(steps)
  return { mapping, rows: count, columns: [...columns], changes: steps.length, revision }
}

function revisionOf(steps: readonly Step[]): string {
  const text = JSON.stringify(steps, (_, value: unknown) => (value instanceof Uint32Array ? [...value] : value))
  return `${fingerprint(text).toString(36)}${fingerprint(text, 1).toString(36)}`
}

/** A dataset as it was imported. */
async function openFile(id: DatasetId): Promise<{ record: DatasetRecord; source: StoredSource }> {
  if (isSample(id)) {
    const { record, rows } = await openSample(id)
    return { record, source: { count: rows.length, slice: async (from, to) => rows.slice(from, to) } }
  }
  const record = await storage.getDataset(id)
  if (!record) throw storage.missingDataset(id)
  return { record, source: { count: record.rows, slice: (from, to) => storage.readRows(id, from, to) } }
}

/** Forgets what is known of the files of a model that is deleted. */
export function forgetModel(id: ModelId): void {
  stored.forget(id)
}

/** Every dataset at hand; samples first. */
export async function allDatasets(): Promise<DatasetRecord[]> {
  const listed = await samples.get('', () => listSamples(pageBase()))
  const opened = await Promise.all(listed.map(({ id }) => openSample(`sample:${id}`)))
  const all = [...opened.map(({ record }) => record), ...(await storage.listDatasets())]
  return Promise.all(all.map(async (record) => ({ ...record, ...(await storage.readOverlay(record.id)) })))
}

/** Whether something came with the page, and so cannot be deleted. */
export function cameWithPage(id: string): boolean {
  return isBundled(id) || isSample(id)
}

async function openSample(id: DatasetId): Promise<{ record: DatasetRecord; rows: RawRow[] }> {
  const listed = await samples.get('', () => listSamples(pageBase()))
  const sample = listed.find((candidate) => `sample:${candidate.id}` === id)
  if (!sample) throw storage.missingDataset(id)
  return sampleRows.get(id, async () => {
    const blob = await fetchSample(pageBase(), sample)
    const imported = await importFile({ name: sample.file, stream: blob.stream(), size: blob.size })
    const { mapping, why, columns, rows } = imported
    const { name, file, description, suggested, samplePrompt } = sample
    const counts = { rows: rows.length, problems: imported.problems.length, bytes: blob.size }
    const told = { name, file, description, suggested, samplePrompt }
    return { record: { id, ...told, ...counts, mapping, why, columns, addedAt: 0 }, rows }
  })
}

/** Whether a model came with the page. */
export function isBundled(id: string): boolean {
  return id.startsWith('bundled:')
}

function isSample(id: string): boolean {
  return id.startsWith('sample:')
}
