/** Exports on their way out: cancelled half-way, broken off, written wrongly: nothing is left. The origin's own folder stands for a picked one. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { bytesFile, type OutFile } from '../../src/engine/formats/out-file'
import { readZip } from '../../src/engine/formats/zip'
import { compareBytes, deliver, type Delivery } from '../../workers/deliver'
import { folderError, folderSource } from '../../workers/picked-folder'

let parent: FileSystemDirectoryHandle
beforeEach(async () => {
  parent = await (await navigator.storage.getDirectory()).getDirectoryHandle('delivered', { create: true })
})
afterEach(async () => (await navigator.storage.getDirectory()).removeEntry('delivered', { recursive: true }))

async function inside(): Promise<string[]> {
  const names: string[] = []
  for await (const name of parent.keys()) names.push(name)
  return names
}

/** A file of three pieces, telling when the second is asked for. */
const threeParts = (onSecond: () => void): OutFile => ({
  name: 'weights.bin',
  size: 3000,
  async *chunks() {
    yield new Uint8Array(1000).fill(1)
    onSecond()
    yield new Uint8Array(1000).fill(2)
    yield new Uint8Array(1000).fill(3)
  },
})

const delivery = (change: Partial<Delivery>): Delivery => ({
  ...{ name: 'out', files: [], onProgress: () => {}, signal: new AbortController().signal, check: async () => 'fine' },
  ...change,
})

describe.each(['folder', 'zip'] as const)('a delivery into a %s', (place) => {
  const where = () => (place === 'folder' ? { folder: parent } : {})

  it('is read back, with files in folders of their own', async () => {
    const files = [
      bytesFile('README.md', 'hello'),
      bytesFile('data/train.jsonl', '{}\n'.repeat(5)),
      threeParts(() => {}),
    ]
    const out = await deliver(delivery({ ...where(), files, check: (back) => compareBytes(files, back) }))
    expect(out.verification).toBe('Read back and compared: all 3 files are the same to the last byte.')
    const back = out.blob ? await readZip(out.blob) : folderSource(await parent.getDirectoryHandle('out'))
    expect((await back.list()).map(({ name }) => name).sort()).toEqual(['README.md', 'data/train.jsonl', 'weights.bin'])
    expect(new TextDecoder().decode(await back.read('data/train.jsonl', 3, 6))).toBe('{}\n')
  })

  it('leaves nothing where it is cancelled half-way', async () => {
    const cancel = new AbortController()
    const told: number[] = []
    const files = [bytesFile('first', 'done'), threeParts(() => cancel.abort())]
    const out = deliver(
      delivery({ ...where(), files, signal: cancel.signal, onProgress: ({ done }) => told.push(done) }),
    )
    await expect(out).rejects.toMatchObject({ name: 'AbortError' })
    expect(told.at(-1)).toBeGreaterThan(0)
    expect(told.at(-1)).toBeLessThan(3004)
    expect(await inside()).toEqual([])
  })

  it('leaves nothing where it is cancelled while it is compared', async () => {
    const cancel = new AbortController()
    const files = [threeParts(() => {})]
    const check = async (back: Parameters<Delivery['check']>[0]) => {
      cancel.abort()
      return compareBytes(files, back)
    }
    const out = deliver(delivery({ ...where(), files, signal: cancel.signal, check }))
    await expect(out).rejects.toMatchObject({ name: 'AbortError' })
    expect(await inside()).toEqual([])
  })

  it('leaves nothing where its files cannot be made, and says why', async () => {
    const broken = threeParts(() => {
      throw new DOMException('', 'QuotaExceededError')
    })
    const out = deliver(delivery({ ...where(), files: [bytesFile('first', 'done'), broken] }))
    await expect(out).rejects.toMatchObject(
      place === 'folder' ? { code: 'storage.full' } : { name: 'QuotaExceededError' },
    )
    expect(await inside()).toEqual([])
  })

  it('leaves nothing that does not read back as it was', async () => {
    let asked = 0
    const changing: OutFile = {
      name: 'weights.bin',
      size: 4,
      async *chunks() {
        yield new Uint8Array(4).fill(asked++)
      },
    }
    const out = deliver(delivery({ ...where(), files: [changing], check: (back) => compareBytes([changing], back) }))
    await expect(out).rejects.toMatchObject({ code: 'export.verify', where: 'weights.bin' })
    expect(await inside()).toEqual([])
  })
})

describe('a folder that fails', () => {
  it('says so in words', () => {
    const of = (name: string) => folderError(new DOMException('', name), 'Models')
    expect(of('QuotaExceededError')).toMatchObject({ code: 'storage.full', what: 'The disk of this folder is full.' })
    expect(of('NotAllowedError')).toMatchObject({ code: 'storage.failed', what: expect.stringContaining('no longer') })
    expect(of('NoModificationAllowedError')).toMatchObject({ code: 'storage.failed', where: 'Models' })
    expect(of('AbortError')).toMatchObject({ name: 'AbortError' })
  })

  it('that was taken away is named', async () => {
    const gone = await parent.getDirectoryHandle('gone', { create: true })
    await parent.removeEntry('gone')
    const out = deliver(delivery({ folder: gone, files: [bytesFile('a', 'b')] }))
    await expect(out).rejects.toMatchObject({ code: 'storage.failed', where: 'gone' })
  })
})
