/**
 * One IndexedDB database as a sorted table of values under array keys, over idb-keyval's store function.
 * Refuses to know what the values are.
 */
import { createStore, promisifyRequest } from 'idb-keyval'
import { CodedError } from '../shared/errors'

/** Keys are arrays, so that everything of one kind, or of one id, is one range. */
export type Key = (string | number)[]

interface Database {
  get<T>(key: Key): Promise<T | undefined>
  /** Values whose keys begin with a prefix, in key order; optionally only those whose next part is in [from, to]. */
  all<T>(prefix: Key, from?: number, to?: number): Promise<T[]>
  keys(prefix: Key): Promise<Key[]>
  /** Runs changes in ONE transaction: resolves when all are committed, and leaves everything as it was if any fails. */
  write<T>(change: (store: IDBObjectStore) => T | Promise<T>): Promise<T>
}

/**
 * Opens (on first use) a database of its own: idb-keyval makes its object store only when a database is created, so two
 * stores cannot share one.
 */
export function openDatabase(name: string): Database {
  const use = createStore(name, 'table')
  return {
    get: (key) => guarded(() => use('readonly', (store) => promisifyRequest(store.get(key)))),
    all: (prefix, from, to) =>
      guarded(() => use('readonly', (store) => promisifyRequest(store.getAll(range(prefix, from, to))))),
    keys: (prefix) =>
      guarded(() => use('readonly', (store) => promisifyRequest(store.getAllKeys(range(prefix)) as IDBRequest<Key[]>))),
    write: (change) =>
      guarded(() =>
        use('readwrite', async (store) => {
          // A request that succeeds is not yet kept: a full disk shows only when the transaction completes or aborts.
          const committed = promisifyRequest(store.transaction)
          try {
            const result = await change(store)
            await committed
            return result
          } catch (error) {
            // put() throws for values that cannot be cloned without aborting: what was put before would be committed.
            abort(store.transaction)
            await committed.catch(() => {})
            throw store.transaction.error ?? error
          }
        }),
      ),
  }
}

/** Every key that begins with a prefix: an array sorts before all others that extend it, and [] after all scalars. */
export function range(prefix: Key, from?: number, to?: number): IDBKeyRange {
  const low = from === undefined ? prefix : [...prefix, from]
  const high = to === undefined ? [...prefix, []] : [...prefix, to, []]
  return IDBKeyRange.bound(low, high)
}

/** Reads a value inside a running transaction. */
export function read<T>(store: IDBObjectStore, key: Key): Promise<T | undefined> {
  return promisifyRequest(store.get(key) as IDBRequest<T | undefined>)
}

/** Runs a storage operation; whatever the browser throws comes out as a coded error that says what to do. */
export async function guarded<T>(operation: () => Promise<T>): Promise<T> {
  try {
    return await operation()
  } catch (error) {
    throw storageError(error)
  }
}

/** A browser's storage error as one for a person; coded errors pass unchanged. */
export function storageError(error: unknown): CodedError {
  if (error instanceof CodedError) return error
  const name = (error as { name?: string } | null)?.name ?? ''
  // Firefox names a full disk NS_ERROR_FILE_NO_DEVICE_SPACE in older versions.
  if (name === 'QuotaExceededError' || name === 'NS_ERROR_FILE_NO_DEVICE_SPACE') {
    return new CodedError('storage.full', 'The browser has no more room for this page; nothing stored was lost.', {
      fix: 'Delete old runs under Runs, or models and datasets you no longer need, then go on.',
      cause: error,
    })
  }
  const message = error instanceof Error ? error.message : String(error)
  return new CodedError('storage.failed', `The browser could not read or write its store: ${message}`, {
    where: name,
    fix: 'Leave private browsing if you are in it, allow this page to keep data, and reload.',
    cause: error,
  })
}

function abort(transaction: IDBTransaction): void {
  try {
    transaction.abort()
  } catch {
    // Already finished or aborted by the browser: nothing of it is kept then either.
  }
}
