/**
 * Where the bytes of large files lie: in the origin private file system where this thread may write to it, else in
 * IndexedDB, in both in parts of 16 MB. Refuses to know which files belong to what: see models.ts.
 */
import { CodedError } from '../shared/errors'
import { guarded, openDatabase, range } from './database'

/** Bytes a part: a single value of 2 GB in IndexedDB has crashed a tab, parts of this size do well. */
export const PART_BYTES = 16 * 2 ** 20

export type Place = 'opfs' | 'indexeddb'

/** Folders of files that are written part by part, in any order, and read by ranges. */
interface PartStore {
  /** Writes one whole part (only a file's last may be shorter). It is on disk when this resolves. */
  write(folder: string, file: string, part: number, bytes: Uint8Array): Promise<void>
  /** Bytes `start` to `end` of a file, all of whose parts there are in. */
  read(folder: string, file: string, start: number, end: number): Promise<Uint8Array>
  removeFolder(folder: string): Promise<void>
  folders(): Promise<string[]>
}

// Keys: [folder, file, part].
const db = openDatabase('finetab-parts')

const inDatabase: PartStore = {
  async write(folder, file, part, bytes) {
    // A view is cloned with the whole buffer under it.
    const own = bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice()
    await db.write((store) => void store.put(own, [folder, file, part]))
  },
  async read(folder, file, start, end) {
    const result = new Uint8Array(end - start)
    for (let part = Math.floor(start / PART_BYTES); part * PART_BYTES < end; part++) {
      const bytes = await db.get<Uint8Array>([folder, file, part])
      if (!bytes) throw missingFile(file)
      const from = part * PART_BYTES
      result.set(bytes.subarray(Math.max(start - from, 0), end - from), Math.max(from - start, 0))
    }
    return result
  },
  async removeFolder(folder) {
    await db.write((store) => void store.delete(range([folder])))
  },
  async folders() {
    return [...new Set((await db.keys([])).map((key) => String(key[0])))]
  },
}

/** The write under way: a file takes one sync access handle at a time, and one disk gains nothing from two. */
let writing: Promise<void> = Promise.resolve()

/** How often a locked folder is tried, and ms between the first two tries. */
const UNLOCK_TRIES = 6
const UNLOCK_DELAY = 50

const inFiles: PartStore = {
  async write(folder, file, part, bytes) {
    const write = async () => {
      const directory = await (await modelsDirectory()).getDirectoryHandle(folder, { create: true })
      const handle = await directory.getFileHandle(encodeURIComponent(file), { create: true })
      const access = await handle.createSyncAccessHandle()
      try {
        const written = access.write(bytes as Uint8Array<ArrayBuffer>, { at: part * PART_BYTES })
        // Some browsers write less instead of throwing when the disk is full.
        if (written < bytes.byteLength) throw new DOMException('Short write.', 'QuotaExceededError')
        access.flush()
      } finally {
        access.close()
      }
    }
    const turn = writing.then(() => guarded(write))
    writing = turn.catch(() => {})
    await turn
  },
  async read(folder, file, start, end) {
    return guarded(async () => {
      let blob: File
      try {
        const directory = await (await modelsDirectory()).getDirectoryHandle(folder)
        blob = await (await directory.getFileHandle(encodeURIComponent(file))).getFile()
      } catch (error) {
        if ((error as DOMException).name === 'NotFoundError') throw missingFile(file)
        throw error
      }
      if (blob.size < end) throw missingFile(file)
      return new Uint8Array(await blob.slice(start, end).arrayBuffer())
    })
  },
  async removeFolder(folder) {
    await guarded(async () => {
      for (let tried = 1; ; tried++) {
        try {
          return await (await modelsDirectory()).removeEntry(folder, { recursive: true })
        } catch (error) {
          const { name } = error as DOMException
          if (name === 'NotFoundError') return
          // A handle that was closed, or whose worker ended, is let go of by the browser a moment later. What is locked for
          // longer has no record any more, and goes at the next start.
          if (name !== 'NoModificationAllowedError') throw error
          if (tried === UNLOCK_TRIES) return
          await new Promise((resolve) => setTimeout(resolve, UNLOCK_DELAY * tried))
        }
      }
    })
  },
  async folders() {
    return guarded(async () => {
      const names: string[] = []
      for await (const name of (await modelsDirectory()).keys()) names.push(name)
      return names
    })
  },
}

/** The part store of a place. */
export function partStore(place: Place): PartStore {
  return place === 'opfs' ? inFiles : inDatabase
}

/** The best place that this thread can write to: sync access handles exist in dedicated workers only. */
export async function writablePlace(): Promise<Place> {
  return typeof FileSystemSyncAccessHandle === 'function' && (await hasFiles()) ? 'opfs' : 'indexeddb'
}

/** Places that may hold something. */
export async function places(): Promise<Place[]> {
  return (await hasFiles()) ? ['opfs', 'indexeddb'] : ['indexeddb']
}

async function hasFiles(): Promise<boolean> {
  try {
    await modelsDirectory()
    return true
  } catch {
    // Absent in older browsers and insecure pages; Firefox has it but refuses in private windows.
    return false
  }
}

async function modelsDirectory(): Promise<FileSystemDirectoryHandle> {
  return (await navigator.storage.getDirectory()).getDirectoryHandle('models', { create: true })
}

/** The error for a file that is not there. */
export function missingFile(name: string): CodedError {
  return new CodedError('file.missing', `${name} is not there.`, {
    where: name,
    fix: 'Add the whole model folder again under Model.',
  })
}
