/**
 * Small choices that outlive a visit, and how much room the browser gives.
 * Refuses anything large, and secrets unless the person asked for it.
 */
import { guarded, openDatabase } from './database'

const db = openDatabase('finetab-settings')

/** A kept choice; undefined where none was made. */
export async function getSetting<T>(name: string): Promise<T | undefined> {
  return db.get<T>([name])
}

/** Keeps a choice; undefined forgets it. */
export async function setSetting(name: string, value: unknown): Promise<void> {
  await db.write((store) => void (value === undefined ? store.delete([name]) : store.put(value, [name])))
}

export interface StorageEstimate {
  /** Bytes that this page keeps. */
  used: number
  /** Bytes that the browser would let it keep: a rough figure, not free disk space. */
  quota: number
  /** Whether the browser promised not to clear it by itself. */
  persisted: boolean
}

/** How much is kept and how much may be; zeros where the browser does not tell. */
export async function storageEstimate(): Promise<StorageEstimate> {
  return guarded(async () => {
    const { usage = 0, quota = 0 } = (await navigator.storage?.estimate?.()) ?? {}
    return { used: usage, quota, persisted: (await navigator.storage?.persisted?.()) ?? false }
  })
}

/** Asks the browser not to clear what is kept; browsers may refuse without asking the person. */
export async function requestPersistence(): Promise<boolean> {
  return guarded(async () => (await navigator.storage?.persist?.()) ?? false)
}
