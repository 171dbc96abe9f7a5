/** File sources for tests in Node: a real folder, and a folder in memory. Refuses to write. */
import { existsSync } from 'node:fs'
import { open, readdir, stat } from 'node:fs/promises'
import { join, relative, resolve, sep } from 'node:path'
import type { FileSource } from '../../src/shared/files'
import { missing } from './memory-folder'

export { memoryFolder } from './memory-folder'

const DATA = resolve(import.meta.dirname, '../../../shared/data')

/** Where a folder of the test data lies, or null (said once) where the data is not there. */
export function dataFolder(name: string): string | null {
  const path = join(DATA, name)
  if (existsSync(path)) return path
  console.log(`skipped: ../shared/data/${name} is not there`)
  return null
}

/** A folder on disk. */
export function diskFolder(root: string): FileSource {
  return {
    async list() {
      const entries = await readdir(root, { recursive: true, withFileTypes: true })
      const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
      return Promise.all(
        files.map(async (file) => ({ name: relative(root, file).split(sep).join('/'), size: (await stat(file)).size })),
      )
    },
    async read(name, start = 0, end) {
      const path = join(root, name)
      if (!existsSync(path)) throw missing(name)
      const file = await open(path)
      try {
        const { size } = await file.stat()
        const bytes = new Uint8Array(Math.max(0, Math.min(end ?? size, size) - start))
        await file.read(bytes, 0, bytes.length, start)
        return bytes
      } finally {
        await file.close()
      }
    },
  }
}
