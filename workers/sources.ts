/**
 * What an id in a job stands for: a model's files, a dataset's record and rows. Used by both workers.
 * Refuses ids it does not know.
 */
import { pageBase } from '../src/client/wire'
import { importFile, type RawRow } from '../src/data'
import { asModelFolder } from '../src/engine/formats/gguf-source'
import { bundledSource, fetchSample, listBundled, listSamples, type BundledModel, type SampleDataset } from '../src/hub'
import { CodedError } from '../src/shared/errors'
import type { FileSource } from '../src/shared/files'
import type { DatasetId, DatasetRecord, Mapping, ModelId } from '../src/shared/records'
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
}

const bundled = new Once<BundledModel[]>()
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
  if (!isBundled(id)) return asModelFolder(storage.modelSource(id))
  return bundledSource(pageBase(), await bundledModel(id))
}

/** A dataset's record and rows, read a stretch at a time where it is stored. @throws CodedError `file.missing` */
export async function openDataset(id: DatasetId): Promise<{
  record: DatasetRecord
  rows: Iterable<RawRow> | AsyncIterable<RawRow>
  slice(from: number, to: number): Promise<RawRow[]>
}> {
  if (isSample(id)) {
    const { record, rows } = await openSample(id)
    const mapping = (await storage.getSetting<Mapping>(mappingSetting(id))) ?? record.mapping
    return { record: { ...record, mapping }, rows, slice: async (from, to) => rows.slice(from, to) }
  }
  const record = await storage.getDataset(id)
  if (!record) throw storage.missingDataset(id)
  return { record, rows: storage.iterateRows(id), slice: (from, to) => storage.readRows(id, from, to) }
}

/** Every dataset at hand; samples first. */
export async function allDatasets(): Promise<DatasetRecord[]> {
  const listed = await samples.get('', () => listSamples(pageBase()))
  const opened = await Promise.all(listed.map(({ id }) => openDataset(`sample:${id}`)))
  return [...opened.map(({ record }) => record), ...(await storage.listDatasets())]
}

/** Keeps a correction of a dataset. A sample keeps its name. */
export async function changeDataset(
  id: DatasetId,
  change: { name?: string; mapping?: Mapping },
): Promise<DatasetRecord> {
  if (!isSample(id)) return storage.updateDataset(id, change)
  if (change.mapping) await storage.setSetting(mappingSetting(id), change.mapping)
  return (await openDataset(id)).record
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

function mappingSetting(id: DatasetId): string {
  return `mapping ${id}`
}
