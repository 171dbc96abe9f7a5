/**
 * Models that were brought in: files part by part, and a record that is written only after all of them are in.
 * Refuses to look inside the files.
 */
import { CodedError } from '../shared/errors'
import type { FileSource, OnProgress } from '../shared/files'
import type { ModelId, ModelRecord } from '../shared/records'
import { openDatabase, range } from './database'
import { ifNotWriting, whileWriting } from './locks'
import { missingFile, PART_BYTES, partStore, places, writablePlace, type Place } from './parts'

interface StoredModel {
  record: ModelRecord
  files: { name: string; size: number }[]
  place: Place
}

/** A transfer that may be gone on with: which parts of which files are in. */
interface Transfer {
  /** What the files are at their origin (revision, ETags): parts of another version are not used. */
  version: string
  place: Place
  /** Bytes of all files, and where they come from; unknown of transfers begun long ago. */
  total?: number
  origin?: string
}

/** An unfinished transfer that can be gone on with. */
export interface PendingTransfer {
  id: ModelId
  /** Bytes that are in, of how many; 0 where that is not known. */
  bytes: number
  total: number
  /** As given to {@link storeModel}. */
  origin: string
}

// Keys: ['model', id], ['transfer', id], ['part', id, file, part].
const db = openDatabase('finetab-models')

/** Stored models, newest first. */
export async function listModels(): Promise<ModelRecord[]> {
  const stored = await db.all<StoredModel>(['model'])
  return stored.map(({ record }) => record).sort((a, b) => b.addedAt - a.addedAt)
}

/** One stored model's record; null where there is none. */
export async function getModel(id: ModelId): Promise<ModelRecord | null> {
  return (await db.get<StoredModel>(['model', id]))?.record ?? null
}

interface StoreOptions {
  onProgress?: OnProgress
  signal?: AbortSignal
  version?: string
  /** Where the files come from, as {@link listTransfers} tells it. */
  origin?: string
  parallel?: number
  check?: (stored: FileSource) => Promise<void>
}

/** The files of a stored model. Its methods throw CodedError `file.missing` if the model or a file is gone. */
export function modelSource(id: ModelId): FileSource {
  let opened: Promise<StoredModel> | null = null
  return sourceOf(id, () => (opened ??= openStored(id)))
}

function sourceOf(id: ModelId, open: () => Promise<Pick<StoredModel, 'files' | 'place'>>): FileSource {
  return {
    list: async () => (await open()).files,
    async read(name, start = 0, end) {
      const { files, place } = await open()
      const file = files.find((candidate) => candidate.name === name)
      if (!file) throw missingFile(name)
      return partStore(place).read(folderOf(id), name, start, Math.min(end ?? file.size, file.size))
    },
  }
}

/**
 * Copies a model's files from anywhere and then lists it. What was copied stays after a failure only if `version` is
 * given: the same call then goes on where it stopped; without, or if the version differs, it starts anew.
 * @param parallel reads under way at once.
 * @param check looks at what was stored before it is listed; what it refuses is removed.
 */
export async function storeModel(
  record: ModelRecord,
  source: FileSource,
  options: StoreOptions = {},
): Promise<ModelRecord> {
  const { id } = record
  return whileWriting('model', id, async () => {
    let resumable = options.version !== undefined
    try {
      const files = (await source.list()).map(({ name, size }) => ({ name, size }))
      const place = await openTransfer(id, files, options)
      await copyParts(id, place, source, files, options)
      await options.check?.(sourceOf(id, async () => ({ files, place }))).catch((error: unknown) => {
        resumable = false
        throw error
      })
      await db.write((store) => {
        store.put({ record, files, place } satisfies StoredModel, ['model', id])
        store.delete(['transfer', id])
        store.delete(range(['part', id]))
      })
      return record
    } catch (error) {
      if (!resumable) await removeModel(id)
      throw error
    }
  })
}

/** Deletes a model, or an unfinished transfer, with all of its files. */
export async function deleteModel(id: ModelId): Promise<void> {
  await removeModel(id)
}

/** Unfinished transfers that can be gone on with, and the bytes they hold. */
export async function listTransfers(): Promise<PendingTransfer[]> {
  const ids = (await db.keys(['transfer'])).map((key) => String(key[1]))
  return Promise.all(
    ids.map(async (id) => {
      const { total = 0, origin = '' } = (await db.get<Transfer>(['transfer', id])) ?? {}
      const bytes = (await db.all<number>(['part', id])).reduce((sum, size) => sum + size, 0)
      return { id, bytes, total, origin }
    }),
  )
}

/** Removes files of imports that died half-way; transfers that can go on, and imports in other tabs, are left alone. */
export async function cleanModels(): Promise<void> {
  for (const place of await places()) {
    for (const folder of await partStore(place).folders()) {
      const id = decodeURIComponent(folder)
      await ifNotWriting('model', id, async () => {
        const known = (await db.get<StoredModel>(['model', id])) ?? (await db.get<Transfer>(['transfer', id]))
        if (known?.place !== place) await partStore(place).removeFolder(folder)
      })
    }
  }
}

async function openTransfer(
  id: ModelId,
  files: readonly { size: number }[],
  { version, origin = '' }: StoreOptions,
): Promise<Place> {
  const begun = await db.get<Transfer>(['transfer', id])
  if (begun && version !== undefined && begun.version === version) return begun.place
  await removeModel(id)
  const place = await writablePlace()
  if (version !== undefined) {
    const total = files.reduce((sum, file) => sum + file.size, 0)
    await db.write((store) => void store.put({ version, place, total, origin } satisfies Transfer, ['transfer', id]))
  }
  return place
}

async function copyParts(
  id: ModelId,
  place: Place,
  source: FileSource,
  files: { name: string; size: number }[],
  options: { onProgress?: OnProgress; signal?: AbortSignal; parallel?: number },
): Promise<void> {
  const there = new Set((await db.keys(['part', id])).map((key) => `${key[2]}\n${key[3]}`))
  const jobs = files.flatMap(({ name, size }) =>
    Array.from({ length: Math.max(1, Math.ceil(size / PART_BYTES)) }, (_, part) => ({ name, size, part })),
  )
  const total = files.reduce((sum, file) => sum + file.size, 0)
  let done = 0
  let next = 0
  const copyNext = async (): Promise<void> => {
    for (let job = jobs[next++]; job; job = jobs[next++]) {
      const { name, size, part } = job
      const start = part * PART_BYTES
      const end = Math.min(size, start + PART_BYTES)
      if (!there.has(`${name}\n${part}`)) {
        options.signal?.throwIfAborted()
        const bytes = await source.read(name, start, end)
        if (bytes.byteLength !== end - start) throw cutShort(name, bytes.byteLength, end - start)
        await partStore(place).write(folderOf(id), name, part, bytes)
        await db.write((store) => void store.put(bytes.byteLength, ['part', id, name, part]))
      }
      done += end - start
      options.onProgress?.({ stage: `Storing ${name}`, done, total, unit: 'bytes' })
    }
  }
  const copiers = Array.from({ length: options.parallel ?? 1 }, () =>
    copyNext().catch((error: unknown) => {
      next = jobs.length
      throw error
    }),
  )
  // All must have ended before a failure is cleaned up after: one still writing would leave its part behind.
  const ends = await Promise.allSettled(copiers)
  const failed = ends.find((end) => end.status === 'rejected')
  if (failed) throw failed.reason
}

async function openStored(id: ModelId): Promise<StoredModel> {
  const stored = await db.get<StoredModel>(['model', id])
  if (stored) return stored
  throw new CodedError('file.missing', 'This model is no longer stored here.', {
    where: id,
    fix: 'Add its folder again under Model.',
  })
}

async function removeModel(id: ModelId): Promise<void> {
  // The record goes first: a tab that dies in between leaves files without a record, which cleanModels removes.
  await db.write((store) => {
    store.delete(['model', id])
    store.delete(['transfer', id])
    store.delete(range(['part', id]))
  })
  for (const place of await places()) await partStore(place).removeFolder(folderOf(id))
}

function folderOf(id: ModelId): string {
  return encodeURIComponent(id)
}

function cutShort(name: string, got: number, wanted: number): CodedError {
  return new CodedError('model.truncated', `${name} ended after ${got} of ${wanted} bytes.`, {
    where: name,
    fix: 'Check the file, or your connection, and add the model again.',
  })
}
