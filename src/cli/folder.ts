/**
 * Folders of this machine as the engine wants them, and files written so that a crash leaves the old or the new one whole.
 * Refuses to follow names out of a folder.
 */
import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { access, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { CodedError } from '../shared/errors'
import type { FileSource, NamedFile } from '../shared/files'
import type { OutFile } from '../engine/formats/out-file'

/** A folder as a {@link FileSource}: its files, not those of folders in it. Throws CodedError `file.missing`. */
export async function folderSource(folder: string): Promise<FileSource> {
  if (!(await isFolder(folder))) {
    throw new CodedError('file.missing', 'There is no such folder.', { where: folder, fix: 'Check the path.' })
  }
  const files = await listFiles(folder)
  const known = new Set(files.map((file) => file.name))
  return {
    list: async () => files,
    read: async (name, start, end) => {
      if (!known.has(name)) {
        throw new CodedError('file.missing', `The folder has no ${name}.`, {
          where: join(folder, name),
          fix: 'Check that the folder is complete.',
        })
      }
      return readRange(join(folder, name), start, end)
    },
  }
}

/** Bytes `start` to `end` of a file, or to its end. */
export async function readRange(path: string, start = 0, end?: number): Promise<Uint8Array> {
  const file = await openForReading(path)
  try {
    const last = Math.min(end ?? Number.MAX_SAFE_INTEGER, (await file.stat()).size)
    const bytes = new Uint8Array(Math.max(0, last - start))
    let done = 0
    while (done < bytes.length) {
      const { bytesRead } = await file.read(bytes, done, bytes.length - done, start + done)
      if (bytesRead === 0) break
      done += bytesRead
    }
    return done === bytes.length ? bytes : bytes.slice(0, done)
  } finally {
    await file.close()
  }
}

/** A file as a stream of pieces with its size, for the data room. Throws CodedError `file.missing` or `file.unreadable`. */
export async function openStream(
  path: string,
): Promise<{ name: string; size: number; stream: ReadableStream<Uint8Array> }> {
  const file = await openForReading(path)
  const { size } = await file.stat()
  const stream = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const piece = new Uint8Array(1 << 18)
      const { bytesRead } = await file.read(piece, 0, piece.length, null)
      if (bytesRead > 0) return controller.enqueue(piece.subarray(0, bytesRead))
      await file.close()
      controller.close()
    },
    cancel: () => file.close(),
  })
  return { name: basename(path), size, stream }
}

async function openForReading(path: string): Promise<FileHandle> {
  try {
    const file = await open(path, 'r')
    if (!(await file.stat()).isDirectory()) return file
    await file.close()
    throw new CodedError('file.unreadable', 'This is a folder, not a file.', { where: path, fix: 'Name a file in it.' })
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'ENOENT' || code === 'ENOTDIR') {
      throw new CodedError('file.missing', 'There is no such file.', {
        where: path,
        fix: 'Check the path.',
        cause: error,
      })
    }
    if (code === 'EACCES' || code === 'EPERM') {
      throw new CodedError('file.unreadable', 'This file may not be read.', {
        where: path,
        fix: 'Change its permissions.',
        cause: error,
      })
    }
    throw error
  }
}

async function listFiles(folder: string): Promise<{ name: string; size: number }[]> {
  const files: { name: string; size: number }[] = []
  for (const name of await readdir(folder)) {
    const info = await stat(join(folder, name)).catch(() => null)
    if (info?.isFile()) files.push({ name, size: info.size })
  }
  return files.sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Whether a path is a folder. */
export async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null))?.isDirectory() ?? false
}

/** Whether a path is there. */
export async function exists(path: string): Promise<boolean> {
  return access(path, constants.F_OK).then(
    () => true,
    () => false,
  )
}

/** Makes sure, before hours of work, that a folder can be written to. Throws CodedError `storage.failed`. */
export async function prepareFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true })
    await access(folder, constants.W_OK)
  } catch (error) {
    throw storageError(error, folder)
  }
}

/** Writes one file whole or not at all. */
export async function writeFileSafely(path: string, bytes: Uint8Array | string): Promise<void> {
  const temporary = `${path}.${randomUUID().slice(0, 8)}.tmp`
  try {
    await mkdir(dirname(path), { recursive: true })
    await writeSynced(temporary, bytes)
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined)
    throw storageError(error, path)
  }
}

/**
 * Puts a folder with exactly these files at a path. The one that was there stays, as `PATH.previous`, until the new one is
 * in place: see {@link currentFolder}.
 */
export async function writeFolderSafely(path: string, files: readonly NamedFile[]): Promise<void> {
  const temporary = `${path}.${randomUUID().slice(0, 8)}.tmp`
  const previous = `${path}.previous`
  try {
    await mkdir(temporary, { recursive: true })
    for (const file of files) await writeSynced(join(temporary, file.name), file.bytes)
    if (await exists(path)) {
      await rm(previous, { recursive: true, force: true })
      await rename(path, previous)
    }
    await rename(temporary, path)
    await rm(previous, { recursive: true, force: true })
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined)
    throw storageError(error, path)
  }
}

/**
 * Writes files piece by piece into a folder beside the target, lets `check` look at them there, and only then moves them into place.
 * Other files of the target stay; after a failure nothing of this is left.
 */
export async function writeOutFiles<T>(
  path: string,
  files: readonly OutFile[],
  options: { check: (written: FileSource) => Promise<T>; onBytes?: (done: number, file: string) => void },
): Promise<T> {
  const temporary = `${path}.${randomUUID().slice(0, 8)}.tmp`
  try {
    await mkdir(temporary, { recursive: true })
    let done = 0
    for (const file of files) {
      await mkdir(dirname(join(temporary, file.name)), { recursive: true })
      await writeSynced(join(temporary, file.name), file.chunks(), (bytes) =>
        options.onBytes?.((done += bytes), file.name),
      )
    }
    const found = await options.check(await folderSource(temporary))
    for (const file of files) {
      await mkdir(dirname(join(path, file.name)), { recursive: true })
      await rename(join(temporary, file.name), join(path, file.name))
    }
    return found
  } catch (error) {
    throw storageError(error, path)
  } finally {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined)
  }
}

/** Where the newest whole version of such a folder is, or null. */
export async function currentFolder(path: string): Promise<string | null> {
  for (const candidate of [path, `${path}.previous`]) if (await isFolder(candidate)) return candidate
  return null
}

async function writeSynced(
  path: string,
  content: Uint8Array | string | AsyncIterable<Uint8Array>,
  onBytes?: (bytes: number) => void,
): Promise<void> {
  const file = await open(path, 'w')
  try {
    if (typeof content === 'string' || content instanceof Uint8Array) await file.writeFile(content)
    else
      for await (const chunk of content) {
        await file.writeFile(chunk)
        onBytes?.(chunk.byteLength)
      }
    await file.sync()
  } finally {
    await file.close()
  }
}

/** A failure to write as a coded one: `storage.full` or `storage.failed`; others as they are. */
export function storageError(error: unknown, where: string): unknown {
  const code = (error as NodeJS.ErrnoException).code
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new CodedError('storage.full', 'The disk is full.', {
      where,
      fix: 'Make room. What was written before is kept; a run that had a checkpoint goes on from it with --resume.',
      cause: error,
    })
  }
  if (code === undefined || error instanceof CodedError) return error
  return new CodedError('storage.failed', `The folder cannot be written (${code}).`, {
    where,
    fix: 'Give another --out, or change its permissions.',
    cause: error,
  })
}
