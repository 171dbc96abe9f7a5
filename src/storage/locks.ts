/**
 * Locks that all tabs of the page see, and that the browser frees when their tab or worker dies.
 * Refuses to pretend where the browser has none (pages served insecurely): work then goes on without.
 */
import { CodedError } from '../shared/errors'

const runLock = (id: string) => `finetab:run:${id}`

/** ms: a worker that is killed in the middle of a step keeps its locks until the browser has stopped it. */
const PATIENCE = 5000

/**
 * Runs work while no other tab can touch the run. Waits a moment for a lock that a dying worker is about to free.
 * @throws CodedError `run.locked` if another tab holds it.
 */
export async function withRunLock<T>(id: string, work: () => Promise<T>): Promise<T> {
  return withLock(runLock(id), PATIENCE, work, () => {
    throw new CodedError('run.locked', 'This run is at work in another tab.', {
      where: id,
      fix: 'Go on in that tab, or close it and try again here.',
    })
  })
}

/** Whether this page has locks at all: Web Locks, like OPFS, exist only in secure contexts (https or localhost). */
export function hasLocks(): boolean {
  return globalThis.navigator?.locks !== undefined
}

/** Runs work if no tab holds the run's lock; else does nothing and gives null. */
export async function ifRunIsFree<T>(id: string, work: () => Promise<T>): Promise<T | null> {
  return withLock<T | null>(runLock(id), 0, work, () => null)
}

/** Resolves once no tab is at work on a run: at once, or when that tab pauses, ends or dies. */
export async function whenRunIsFree(id: string): Promise<void> {
  await globalThis.navigator?.locks?.request(runLock(id), { mode: 'shared' }, () => {})
}

/** Runs work under a lock that marks something as being written, so that no other tab takes it for a leftover. */
export async function whileWriting<T>(kind: 'dataset' | 'model', id: string, work: () => Promise<T>): Promise<T> {
  return withLock(`finetab:${kind}:${id}`, null, work, () => Promise.reject(new Error('a lock without limit ran out')))
}

/** Runs work only if nobody is writing the thing. */
export async function ifNotWriting(kind: 'dataset' | 'model', id: string, work: () => Promise<void>): Promise<void> {
  await withLock<void>(`finetab:${kind}:${id}`, 0, work, () => undefined)
}

/** @param patience ms to wait for the lock; 0 asks once, null waits for ever. */
async function withLock<T>(
  name: string,
  patience: number | null,
  work: () => Promise<T>,
  otherwise: () => T | Promise<T>,
): Promise<T> {
  if (!hasLocks()) return work()
  const { locks } = navigator
  if (patience === 0) return locks.request(name, { ifAvailable: true }, (lock) => (lock ? work() : otherwise()))
  if (patience === null) return locks.request(name, work)
  let held = false
  try {
    return await locks.request(name, { signal: AbortSignal.timeout(patience) }, () => {
      held = true
      return work()
    })
  } catch (error) {
    if (held) throw error
    return otherwise()
  }
}
