/**
 * Datasets: rows in chunks, so that any stretch of a million rows is read at once, and rows set aside with their reasons.
 * A dataset is listed only after its last row is in. Refuses to know what a row means.
 */
import { CodedError } from '../shared/errors'
import type { DatasetId, DatasetRecord, RowProblem } from '../shared/records'
import { openDatabase, range, read } from './database'
import { ifNotWriting, whileWriting } from './locks'

/** A row as it stood in its file. */
type StoredRow = Record<string, unknown>

// Keys: ['record', id], ['problems', id], ['rows', id, chunk].
const db = openDatabase('finetab-datasets')

/** Rows a chunk: one read for what a page shows, few enough keys for a million rows. */
const CHUNK = 256
/** Chunks a transaction: bounds the memory that the browser holds for it. */
const CHUNKS_A_WRITE = 16

/** Stored datasets, newest first. */
export async function listDatasets(): Promise<DatasetRecord[]> {
  const records = await db.all<DatasetRecord>(['record'])
  return records.sort((a, b) => b.addedAt - a.addedAt)
}

/** One dataset's record; null where there is none. */
export async function getDataset(id: DatasetId): Promise<DatasetRecord | null> {
  return (await db.get<DatasetRecord>(['record', id])) ?? null
}

/** Rows `from` (inclusive) to `to` (exclusive; the end if left out), in file order. */
export async function readRows<T extends object = StoredRow>(
  id: DatasetId,
  from = 0,
  to = Number.MAX_SAFE_INTEGER,
): Promise<T[]> {
  if (to <= from) return []
  const first = Math.floor(from / CHUNK)
  const chunks = await db.all<T[]>(['rows', id], first, Math.floor((to - 1) / CHUNK))
  return chunks.flat().slice(from - first * CHUNK, to - first * CHUNK)
}

/** Rows of the file that were set aside. */
export async function readProblems(id: DatasetId): Promise<RowProblem[]> {
  return (await db.get<RowProblem[]>(['problems', id])) ?? []
}

/**
 * Stores a dataset while it is being read: `work` appends rows as they come and ends with what is to be listed. If it
 * fails (or is aborted), nothing of the dataset stays.
 */
export async function storeDataset(
  id: DatasetId,
  work: (
    append: (rows: readonly object[]) => Promise<void>,
  ) => Promise<{ record: DatasetRecord; problems: readonly RowProblem[] }>,
): Promise<DatasetRecord> {
  return whileWriting('dataset', id, async () => {
    let waiting: object[] = []
    let chunks = 0
    const flush = async (least: number): Promise<void> => {
      while (waiting.length > least) {
        const taken = waiting.slice(0, CHUNK * CHUNKS_A_WRITE)
        await db.write((store) => {
          for (let at = 0; at < taken.length; at += CHUNK)
            store.put(taken.slice(at, at + CHUNK), ['rows', id, chunks++])
        })
        waiting = waiting.slice(taken.length)
      }
    }
    try {
      const { record, problems } = await work(async (rows) => {
        waiting = waiting.concat(rows)
        await flush(CHUNK * CHUNKS_A_WRITE)
      })
      await flush(0)
      const listed = { ...record, id }
      await db.write((store) => {
        store.put(problems, ['problems', id])
        store.put(listed, ['record', id])
      })
      return listed
    } catch (error) {
      await removeRows(id)
      throw error
    }
  })
}

/** Changes name or mapping of a stored dataset. @throws CodedError `file.missing` */
export async function updateDataset(
  id: DatasetId,
  change: Partial<Pick<DatasetRecord, 'name' | 'mapping'>>,
): Promise<DatasetRecord> {
  return db.write(async (store) => {
    const record = await read<DatasetRecord>(store, ['record', id])
    if (!record) throw missingDataset(id)
    const next = { ...record, ...change, id }
    store.put(next, ['record', id])
    return next
  })
}

/** Deletes a dataset; runs keep their own copy of its record, not of its rows. */
export async function deleteDataset(id: DatasetId): Promise<void> {
  await removeRows(id)
}

/** Removes rows of imports that died half-way (a closed tab); imports at work in other tabs are left alone. */
export async function cleanDatasets(): Promise<void> {
  const listed = new Set((await db.keys(['record'])).map((key) => key[1]))
  const found = new Set((await db.keys(['rows'])).map((key) => key[1]))
  for (const id of found) {
    if (typeof id !== 'string' || listed.has(id)) continue
    await ifNotWriting('dataset', id, async () => {
      if (!(await getDataset(id))) await removeRows(id)
    })
  }
}

/** The error for a dataset that is not there. */
export function missingDataset(id: DatasetId): CodedError {
  return new CodedError('file.missing', 'This dataset is not stored here.', {
    where: id,
    fix: 'Add the file again under Data.',
  })
}

async function removeRows(id: DatasetId): Promise<void> {
  await db.write((store) => {
    store.delete(['record', id])
    store.delete(['problems', id])
    store.delete(range(['rows', id]))
    store.delete(['steps', id])
    store.delete(['overlay', id])
    store.delete(range(['revision', id]))
  })
}
