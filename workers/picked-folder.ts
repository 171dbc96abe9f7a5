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
    throw folderError(error, parent.name)
  }
}

/** What went wrong in a picked folder, for a person; what is not the folder's fault stays as it is. */
export function folderError(error: unknown, where: string): unknown {
  if (!(error instanceof DOMException) || error.name === 'AbortError') return error
  if (error.name === 'QuotaExceededError')
    return new CodedError('storage.full', 'The disk of this folder is full.', {
      where,
      fix: 'Make room on it, or pick a folder on another disk. What was half written is removed again.',
      cause: error,
    })
  const withdrawn = error.name === 'NotAllowedError'
  const what = withdrawn ? 'The page may no longer write into this folder.' : 'The folder cannot be written.'
  return new CodedError('storage.failed', what, {
    where,
    fix: 'Pick a folder again and allow the page to change it, or save a zip.',
    cause: error,
  })
}

/** The folder that a path such as "data/train.jsonl" names, and the file's own name. */
async function placeOf(
  folder: FileSystemDirectoryHandle,
  path: string,
  create: boolean,
): Promise<{ folder: FileSystemDirectoryHandle; name: string }> {
  const parts = path.split('/')
  const name = parts.pop() as string
  for (const part of parts) folder = await folder.getDirectoryHandle(part, { create })
  return { folder, name }
}

async function writeFile(root: FileSystemDirectoryHandle, file: OutFile): Promise<void> {
  const { folder, name } = await placeOf(root, file.name, true)
  const handle = await folder.getFileHandle(name, { create: true })
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

/** A folder of files, those of its folders too, as the engine reads it. */
export function folderSource(root: FileSystemDirectoryHandle): FileSource {
  const open = async (path: string): Promise<File> => {
    const { folder, name } = await placeOf(root, path, false)
    return (await folder.getFileHandle(name)).getFile()
  }
  const listed = async (
    folder: FileSystemDirectoryHandle,
    prefix: string,
  ): Promise<{ name: string; size: number }[]> => {
    const files: { name: string; size: number }[] = []
    for await (const [name, handle] of folder.entries()) {
      if (handle.kind === 'directory') files.push(...(await listed(handle, `${prefix}${name}/`)))
      else files.push({ name: prefix + name, size: (await handle.getFile()).size })
    }
    return files
  }
  return {
    list: () => listed(root, ''),
    async read(name, start = 0, end) {
      const file = await open(name)
      return new Uint8Array(await file.slice(start, end ?? file.size).arrayBuffer())
    },
  }
}
