/**
 * A folder that the person picked for writing (File System Access): a new folder in it, file by file. Refuses to touch what was there.
 */
import type { OutFile } from '../src/engine/formats/out-file'
import { CodedError } from '../src/shared/errors'
import type { FileSource } from '../src/shared/files'

/** Writes files into a new folder; it is removed again where writing fails. @throws CodedError `storage.failed` */
export async function writeIntoFolder(
  parent: FileSystemDirectoryHandle,
  name: string,
  files: readonly OutFile[],
): Promise<FileSystemDirectoryHandle> {
  let folder: FileSystemDirectoryHandle | null = null
  try {
    folder = await parent.getDirectoryHandle(await freeName(parent, name), { create: true })
    for (const file of files) await writeFile(folder, file)
    return folder
  } catch (error) {
    if (folder) await parent.removeEntry(folder.name, { recursive: true }).catch(() => {})
    if (error instanceof CodedError || (error as Error).name === 'QuotaExceededError') throw error
    if (!(error instanceof DOMException)) throw error
    throw new CodedError('storage.failed', 'The folder cannot be written.', {
      where: parent.name,
      fix: 'Pick another folder and allow the page to change it, or save a zip.',
      cause: error,
    })
  }
}

async function writeFile(folder: FileSystemDirectoryHandle, file: OutFile): Promise<void> {
  const handle = await folder.getFileHandle(file.name, { create: true })
  const stream = await handle.createWritable()
  try {
    for await (const chunk of file.chunks()) await stream.write(chunk as Uint8Array<ArrayBuffer>)
    await stream.close()
  } catch (error) {
    await stream.abort().catch(() => {})
    throw error
  }
}

/** The name itself, or with the first number that is not taken. */
async function freeName(parent: FileSystemDirectoryHandle, name: string): Promise<string> {
  for (let number = 1; ; number++) {
    const candidate = number === 1 ? name : `${name}-${number}`
    const taken = await parent.getDirectoryHandle(candidate).then(
      () => true,
      (error: DOMException) => error.name !== 'NotFoundError',
    )
    if (!taken) return candidate
  }
}

/** A folder of files as the engine reads it. */
export function folderSource(folder: FileSystemDirectoryHandle): FileSource {
  const open = async (name: string): Promise<File> => (await folder.getFileHandle(name)).getFile()
  return {
    async list() {
      const files: { name: string; size: number }[] = []
      for await (const [name, handle] of folder.entries())
        if (handle.kind === 'file') files.push({ name, size: (await open(name)).size })
      return files
    },
    async read(name, start = 0, end) {
      const file = await open(name)
      return new Uint8Array(await file.slice(start, end ?? file.size).arrayBuffer())
    },
  }
}
