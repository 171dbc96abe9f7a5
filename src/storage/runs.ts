/**
 * Runs: their records, metrics, checkpoints and imported adapters, all in one database, so that a checkpoint, the metrics
 * up to it and the record that names it are committed together or not at all. Refuses base weights.
 */
import { CodedError } from '../shared/errors'
import { currentJob } from '../shared/job'
import { MetricBuffer, type MetricColumns } from '../shared/metrics'
import type {
  Checkpoint,
  CheckpointMeta,
  CheckpointKind,
  CheckpointSummary,
  RunId,
  RunRecord,
  TensorData,
} from '../shared/records'
import { openDatabase, range, read, type Key } from './database'
import { hasLocks, ifRunIsFree } from './locks'
import { PART_BYTES } from './parts'

/** A PEFT adapter as it is kept: its configuration and its tensors by file key. */
interface StoredAdapter {
  config: object
  tensors: Record<string, TensorData>
}

/** A set of tensors without their bytes; these lie beside it in pieces, in the order of the names. */
interface Kept<Head> {
  head: Head
  tensors: { name: string; dtype: TensorData['dtype']; shape: number[]; bytes: number }[]
}

// Keys: ['record', id], ['metrics', id, first step, count], ['checkpoint', id, kind], ['checkpoint', id, kind, piece],
// ['adapter', id], ['adapter', id, piece].
const db = openDatabase('finetab-runs')
const PARTS = ['record', 'metrics', 'checkpoint', 'adapter'] as const

/**
 * Every run, newest first. A run that says it is at work while no tab holds its lock was interrupted (closed tab, crash):
 * it becomes paused at its last checkpoint here.
 */
export async function listRuns(): Promise<RunRecord[]> {
  const records = await db.all<RunRecord>(['record'])
  const settled = await Promise.all(records.map((record) => settle(current(record))))
  return settled.sort((a, b) => b.createdAt - a.createdAt)
}

/** One run, settled as {@link listRuns} does; null where there is none. */
export async function getRun(id: RunId): Promise<RunRecord | null> {
  const record = await db.get<RunRecord>(['record', id])
  return record ? settle(current(record)) : null
}

/** A record as the code of today reads it: settings that came after it are at their defaults. */
function current(record: RunRecord): RunRecord {
  return { ...record, job: currentJob(record.job) }
}

/** Stores a run's record as it stands. */
export async function putRun(record: RunRecord): Promise<void> {
  await db.write((store) => void store.put(record, ['record', record.id]))
}

/**
 * Changes a record from its newest state, whoever changed it last; id and job stay as they are.
 * @throws CodedError `run.missing`
 */
export async function updateRun(
  id: RunId,
  change: Partial<RunRecord> | ((record: RunRecord) => Partial<RunRecord>),
): Promise<RunRecord> {
  return db.write((store) => changeRecord(store, id, change))
}

/** Deletes a run with everything of it. @throws CodedError `run.locked` while a tab is at work on it. */
export async function deleteRun(id: RunId): Promise<void> {
  const deleted = await ifRunIsFree(id, async () => {
    await db.write((store) => PARTS.forEach((part) => store.delete(range([part, id]))))
    return true
  })
  if (deleted) return
  throw new CodedError('run.locked', 'This run is at work and cannot be deleted.', {
    where: id,
    fix: 'Stop it first, or close the tab in which it runs.',
  })
}

/** All metrics of a run so far; null where there are none. */
export async function getMetrics(id: RunId): Promise<MetricColumns | null> {
  const pieces = await db.all<MetricColumns>(['metrics', id])
  if (pieces.length === 0) return null
  const buffer = new MetricBuffer()
  for (const piece of pieces) buffer.append(piece)
  return buffer.slice()
}

/** Adds rows after those stored; the first row's step orders the pieces. */
export async function appendMetrics(id: RunId, columns: MetricColumns): Promise<void> {
  const first = columns.step[0]
  if (first === undefined) return
  await db.write(async (store) => {
    // Two pieces may begin with the same step (its loss, later its validation loss): the count keeps them apart.
    const same = await promised(store.count(range(['metrics', id, first])))
    store.put(columns, ['metrics', id, first, same])
  })
}

/** Replaces all metrics: what going on from a checkpoint does with rows that are younger than it. */
export async function replaceMetrics(id: RunId, columns: MetricColumns): Promise<void> {
  await db.write((store) => putMetrics(store, id, columns))
}

/**
 * Saves a checkpoint as `last`, `best` or both, with its metrics, samples and marks and the record that lists it, in one
 * transaction: a tab that dies meanwhile leaves the old checkpoint whole.
 * @returns the record as it is now.
 */
export async function saveCheckpoint(
  id: RunId,
  kinds: readonly CheckpointKind[],
  checkpoint: Checkpoint,
): Promise<RunRecord> {
  const { meta } = checkpoint
  return db.write((store) => {
    for (const kind of kinds) putTensors(store, ['checkpoint', id, kind], meta, checkpoint.tensors)
    if (kinds.includes('last')) putMetrics(store, id, meta.metrics)
    return changeRecord(store, id, (record) => ({
      checkpoints: [
        ...record.checkpoints.filter((old) => !kinds.includes(old.kind)),
        ...kinds.map((kind) => summarise(kind, checkpoint)),
      ],
      step: meta.step,
      totalSteps: meta.totalSteps,
      bestStep: meta.bestStep,
      bestEvalLoss: meta.bestEvalLoss,
      samples: meta.samples,
      marks: meta.marks,
    }))
  })
}

/** A checkpoint; null where there is none of that kind. */
export async function loadCheckpoint(id: RunId, kind: CheckpointKind): Promise<Checkpoint | null> {
  const kept = await loadTensors<CheckpointMeta>(['checkpoint', id, kind])
  return kept && { meta: kept.head, tensors: kept.tensors }
}

/** Stores a run together with an adapter that came from elsewhere. */
export async function putImportedRun(record: RunRecord, adapter: StoredAdapter): Promise<void> {
  await db.write((store) => {
    putTensors(store, ['adapter', record.id], adapter.config, adapter.tensors)
    store.put(record, ['record', record.id])
  })
}

/** The adapter of an imported run; null for others. */
export async function loadImportedAdapter(id: RunId): Promise<StoredAdapter | null> {
  const kept = await loadTensors<object>(['adapter', id])
  return kept && { config: kept.head, tensors: kept.tensors }
}

/** ms: a run at work writes its record about once a second. Without locks, a longer silence is the only sign of an end. */
const SILENCE = 60_000

async function settle(record: RunRecord): Promise<RunRecord> {
  if (!isAtWork(record) || (!hasLocks() && Date.now() - record.updatedAt < SILENCE)) return record
  const settled = await ifRunIsFree(record.id, () =>
    updateRun(record.id, (now) =>
      isAtWork(now) ? { status: 'paused', step: now.checkpoints.find((c) => c.kind === 'last')?.step ?? 0 } : {},
    ),
  )
  return settled ?? record
}

function isAtWork(record: RunRecord): boolean {
  return record.status === 'running' || record.status === 'preparing'
}

async function changeRecord(
  store: IDBObjectStore,
  id: RunId,
  change: Partial<RunRecord> | ((record: RunRecord) => Partial<RunRecord>),
): Promise<RunRecord> {
  const record = await read<RunRecord>(store, ['record', id])
  if (!record) {
    throw new CodedError('run.missing', 'This run is no longer stored.', {
      where: id,
      fix: 'It may have been deleted in another tab; start a new one.',
    })
  }
  const changed = typeof change === 'function' ? change(record) : change
  const next = { ...record, ...changed, id: record.id, job: currentJob(record.job), updatedAt: Date.now() }
  store.put(next, ['record', id])
  return next
}

function putMetrics(store: IDBObjectStore, id: RunId, columns: MetricColumns): void {
  store.delete(range(['metrics', id]))
  const first = columns.step[0]
  const key: Key = ['metrics', id, first ?? 0, 0]
  if (first !== undefined) store.put(columns, key)
}

function summarise(kind: CheckpointKind, { meta, tensors }: Checkpoint): CheckpointSummary {
  const bytes = Object.values(tensors).reduce((sum, tensor) => sum + tensor.bytes.byteLength, 0)
  return { kind, step: meta.step, evalLoss: evalLossAt(meta.metrics, meta.step), bytes, savedAt: Date.now() }
}

function evalLossAt(metrics: MetricColumns, step: number): number | null {
  for (let row = metrics.step.length - 1; row >= 0 && metrics.step[row] === step; row--) {
    const loss = metrics.evalLoss[row]
    if (loss !== undefined && Number.isFinite(loss)) return loss
  }
  return null
}

/** Chromium refuses values above 127 MiB, so bytes lie in pieces of their own, all put in the same transaction. */
function putTensors(store: IDBObjectStore, key: Key, head: object, tensors: Record<string, TensorData>): void {
  store.delete(range(key))
  const entries = Object.entries(tensors)
  const index = entries.map(([name, { dtype, shape, bytes }]) => ({ name, dtype, shape, bytes: bytes.byteLength }))
  store.put({ head, tensors: index } satisfies Kept<object>, key)
  let piece = 0
  for (const [, { bytes }] of entries) {
    for (let at = 0; at < bytes.byteLength; at += PART_BYTES) {
      // Sliced, because structured clone copies the whole buffer under a view: all of the file it was cut from.
      store.put(bytes.slice(at, at + PART_BYTES), [...key, piece++])
    }
  }
}

async function loadTensors<Head>(key: Key): Promise<{ head: Head; tensors: Record<string, TensorData> } | null> {
  const [kept, ...pieces] = await db.all<unknown>(key)
  if (!kept) return null
  const { head, tensors } = kept as Kept<Head>
  const entries = tensors.map(({ name, dtype, shape, bytes }) => {
    const whole = new Uint8Array(bytes)
    for (let at = 0; at < bytes; at += PART_BYTES) whole.set(pieces.shift() as Uint8Array, at)
    return [name, { dtype, shape, bytes: whole }] as const
  })
  return { head, tensors: Object.fromEntries(entries) }
}

function promised<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}
