/** A folder in memory as a file source, in Node and in the browser. Refuses to write. */
import { CodedError } from '../../src/shared/errors'
import type { FileSource } from '../../src/shared/files'

/** A folder in memory; strings are UTF-8. */
export function memoryFolder(files: Record<string, string | Uint8Array>): FileSource {
  const all = new Map(
    Object.entries(files).map(([name, content]) => [
      name,
      typeof content === 'string' ? new TextEncoder().encode(content) : content,
    ]),
  )
  return {
    list: async () => [...all].map(([name, bytes]) => ({ name, size: bytes.length })),
    read: async (name, start, end) => {
      const bytes = all.get(name)
      if (!bytes) throw missing(name)
      return bytes.slice(start, end)
    },
  }
}

/** What a source says of a file that it does not have. */
export function missing(name: string): CodedError {
  return new CodedError('file.missing', `There is no file ${name}.`, { where: name, fix: 'Pick the whole folder.' })
}
