/** Folders: ranged reads, and writes that leave the old or the new one whole. */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  currentFolder,
  folderSource,
  openStream,
  prepareFolder,
  writeFileSafely,
  writeFolderSafely,
} from '../../../src/cli/folder'
import { openModelFolder } from '../../../src/cli/model-folder'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'finetab-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const bytes = (text: string) => new TextEncoder().encode(text)
const text = (data: Uint8Array) => new TextDecoder().decode(data)

describe('folderSource', () => {
  it('lists files with sizes and reads ranges', async () => {
    await mkdir(join(folder, 'sub'))
    await writeFile(join(folder, 'a.txt'), 'hello world')
    await writeFile(join(folder, 'sub', 'b.txt'), 'x')
    const source = await folderSource(folder)
    expect(await source.list()).toEqual([{ name: 'a.txt', size: 11 }])
    expect(text(await source.read('a.txt'))).toBe('hello world')
    expect(text(await source.read('a.txt', 6))).toBe('world')
    expect(text(await source.read('a.txt', 2, 4))).toBe('ll')
    expect(text(await source.read('a.txt', 6, 99))).toBe('world')
  })

  it('refuses what is not there or not in the folder', async () => {
    await writeFile(join(folder, 'a.txt'), 'x')
    const source = await folderSource(folder)
    await expect(source.read('b.txt')).rejects.toMatchObject({ code: 'file.missing' })
    await expect(source.read('../a.txt')).rejects.toMatchObject({ code: 'file.missing' })
    await expect(folderSource(join(folder, 'none'))).rejects.toMatchObject({ code: 'file.missing' })
    await expect(folderSource(join(folder, 'a.txt'))).rejects.toMatchObject({ code: 'file.missing' })
  })
})

describe('openStream', () => {
  it('gives all bytes of a file longer than a piece', async () => {
    const content = new Uint8Array(600_000).map((_, i) => i % 251)
    await writeFile(join(folder, 'big'), content)
    const { size, stream } = await openStream(join(folder, 'big'))
    expect(size).toBe(600_000)
    expect(Buffer.from(await new Response(stream).arrayBuffer()).equals(content)).toBe(true)
  })

  it('says what is wrong with a path', async () => {
    await expect(openStream(join(folder, 'none'))).rejects.toMatchObject({ code: 'file.missing' })
    await expect(openStream(folder)).rejects.toMatchObject({ code: 'file.unreadable' })
  })
})

describe('writing', () => {
  it('replaces a folder whole and leaves nothing beside it', async () => {
    const path = join(folder, 'checkpoint')
    await writeFolderSafely(path, [{ name: 'one', bytes: bytes('1') }])
    await writeFolderSafely(path, [{ name: 'two', bytes: bytes('2') }])
    expect(await readdir(path)).toEqual(['two'])
    expect(await readdir(folder)).toEqual(['checkpoint'])
    expect(await currentFolder(path)).toBe(path)
  })

  it('finds the previous version where a crash came between the two renames', async () => {
    const path = join(folder, 'checkpoint')
    await writeFolderSafely(`${path}.previous`, [{ name: 'one', bytes: bytes('1') }])
    expect(await currentFolder(path)).toBe(`${path}.previous`)
    await writeFolderSafely(path, [{ name: 'two', bytes: bytes('2') }])
    expect(await currentFolder(path)).toBe(path)
    expect(await currentFolder(join(folder, 'other'))).toBeNull()
  })

  it('leaves the old file where the new one cannot be written', async () => {
    await writeFileSafely(join(folder, 'a'), 'old')
    const missing = join(folder, 'a', 'below')
    await expect(writeFileSafely(missing, 'new')).rejects.toMatchObject({ code: 'storage.failed' })
    await expect(prepareFolder(missing)).rejects.toMatchObject({ code: 'storage.failed' })
    expect(await readFile(join(folder, 'a'), 'utf8')).toBe('old')
  })

  it.skipIf(process.getuid?.() === 0)('names a folder that may not be written', async () => {
    await chmod(folder, 0o500)
    await expect(prepareFolder(folder)).rejects.toMatchObject({ code: 'storage.failed', where: folder })
    await chmod(folder, 0o700)
  })
})

describe('openModelFolder', () => {
  it('takes a path', async () => {
    const model = await openModelFolder(folder)
    expect(model).toMatchObject({ id: `local:${folder}`, path: folder })
  })

  it('refuses a name that is neither a folder nor bundled', async () => {
    for (const name of ['no-such-model', 'bundled:no-such-model', '../models', '..', join(folder, 'none')]) {
      await expect(openModelFolder(name === '..' ? 'bundled:..' : name)).rejects.toMatchObject({ code: 'file.missing' })
    }
  })
})
