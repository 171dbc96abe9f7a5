/**
 * Files on their way to the person: into a zip or a picked folder, read back, removed again where that fails or is cancelled. Refuses to
 * know what they hold.
 */
import { downloadZip } from 'client-zip'
import { differs } from '../src/engine/export/compare'
import type { OutFile } from '../src/engine/formats/out-file'
import { readZip } from '../src/engine/formats/zip'
import { CodedError } from '../src/shared/errors'
import type { FileSource, OnProgress } from '../src/shared/files'
import type { ExportResult } from '../src/shared/protocol'
import { folderSource, writeIntoFolder } from './picked-folder'

export interface Delivery {
  /** Of the zip without its ending, or of the folder. */
  name: string
  files: readonly OutFile[]
  /** Where a new folder is made; a zip where left out. */
  folder?: FileSystemDirectoryHandle | undefined
  onProgress: OnProgress
  signal: AbortSignal
  /** Looks at what was written; says what it found. @throws CodedError `export.verify` */
  check(back: FileSource): Promise<string>
}

interface Written {
  result: Omit<ExportResult, 'verification'>
  back: FileSource
  remove(): Promise<void>
}

/** Writes, reads back and checks. @throws CodedError `export.verify`, `storage.*`, or the signal's reason: nothing is left then. */
export async function deliver(delivery: Delivery): Promise<ExportResult> {
  const { name, folder, signal } = delivery
  const files = watched(delivery)
  const written = folder ? await intoFolder(folder, name, files) : await intoZip(name, files)
  try {
    signal.throwIfAborted()
    return { ...written.result, verification: await delivery.check(heeding(written.back, signal)) }
  } catch (error) {
    await written.remove()
    throw error
  }
}

async function intoZip(name: string, files: readonly OutFile[]): Promise<Written> {
  // A response tells nothing of why its stream broke off.
  let failure: unknown
  const inputs = files.map((file) => ({
    ...{ name: file.name, size: file.size },
    input: remembering(file.chunks(), (error) => (failure ??= error)),
  }))
  const blob = await downloadZip(inputs)
    .blob()
    .catch((error: unknown) => {
      throw failure ?? noRoom(error)
    })
  const result = { name: `${name}.zip`, bytes: blob.size, blob }
  return { result, back: await readZip(blob), remove: async () => {} }
}

async function* remembering(
  chunks: AsyncIterable<Uint8Array>,
  remember: (error: unknown) => void,
): AsyncGenerator<Uint8Array> {
  try {
    yield* chunks
  } catch (error) {
    remember(error)
    throw error
  }
}

function noRoom(cause: unknown): CodedError {
  return new CodedError('storage.full', 'The browser has no room for the zip.', {
    fix: 'Make room on the disk, delete old models or runs, or write into a folder that you pick.',
    cause,
  })
}

async function intoFolder(
  parent: FileSystemDirectoryHandle,
  name: string,
  files: readonly OutFile[],
): Promise<Written> {
  const folder = await writeIntoFolder(parent, name, files)
  const bytes = files.reduce((sum, { size }) => sum + size, 0)
  const result = { name: `${parent.name}/${folder.name}`, bytes, blob: null }
  const remove = () => parent.removeEntry(folder.name, { recursive: true }).catch(() => {})
  return { result, back: folderSource(folder), remove }
}

/** The files, telling how many bytes of all are written, and ending where that is asked for. */
function watched({ files, onProgress, signal }: Delivery): OutFile[] {
  const total = files.reduce((sum, { size }) => sum + size, 0)
  let done = 0
  return files.map(({ name, size, chunks }) => ({
    name,
    size,
    async *chunks() {
      for await (const chunk of chunks()) {
        signal.throwIfAborted()
        yield chunk
        done += chunk.byteLength
        onProgress({ stage: `Writing ${name}`, done, total, unit: 'bytes' })
      }
    },
  }))
}

function heeding(source: FileSource, signal: AbortSignal): FileSource {
  return {
    list: () => source.list(),
    async read(name, start, end) {
      signal.throwIfAborted()
      return source.read(name, start, end)
    },
  }
}

/** Bytes that are compared at once. */
const PIECE = 1 << 20

/** Compares every file with what was to be written, byte by byte. @throws CodedError `export.verify` */
export async function compareBytes(files: readonly OutFile[], back: FileSource): Promise<string> {
  for (const file of files) {
    let at = 0
    for await (const chunk of file.chunks()) {
      for (let from = 0; from < chunk.length; from += PIECE) {
        const piece = chunk.subarray(from, from + PIECE)
        const read = await back.read(file.name, at, at + piece.length)
        if (read.length !== piece.length || read.some((byte, i) => byte !== piece[i])) throw differs(file.name)
        at += piece.length
      }
    }
  }
  return `Read back and compared: all ${files.length} files are the same to the last byte.`
}
