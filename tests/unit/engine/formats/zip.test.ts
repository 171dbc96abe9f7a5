/** Zips: archives of client-zip and of our own making, and archives that mean harm. */
import { deflateRawSync } from 'node:zlib'
import { downloadZip } from 'client-zip'
import { describe, expect, it } from 'vitest'
import { crc32, enterFolder, readZip, ZIP_LIMITS } from '../../../../src/engine/formats/zip'

const text = (value: string) => new TextEncoder().encode(value)
const BIG = new Uint8Array(300_000).map((_, i) => (i * 7919) >> 3)

const same = (a: Uint8Array, b: Uint8Array) => Buffer.from(a).equals(b)

interface Part {
  name: string
  bytes: Uint8Array
  stored?: boolean
  /** What the directory says instead of the truth. */
  lie?: { size?: number; packed?: number; crc?: number; flags?: number; method?: number; at?: number }
}

/** An archive byte by byte, so that it can be wrong. */
function archive(parts: Part[], end: { count?: number; at?: number; comment?: string } = {}): Uint8Array {
  const chunks: Buffer[] = []
  const directory: Buffer[] = []
  let at = 0
  for (const { name, bytes, stored, lie = {} } of parts) {
    const packed = stored ? Buffer.from(bytes) : deflateRawSync(bytes)
    const title = Buffer.from(name)
    const fields = Buffer.alloc(24)
    fields.writeUInt16LE(20, 0)
    fields.writeUInt16LE(lie.flags ?? 0x800, 2)
    fields.writeUInt16LE(lie.method ?? (stored ? 0 : 8), 4)
    fields.writeUInt32LE(lie.crc ?? crc32(bytes), 10)
    fields.writeUInt32LE(lie.packed ?? packed.length, 14)
    fields.writeUInt32LE(lie.size ?? bytes.length, 18)
    fields.writeUInt16LE(title.length, 22)
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), fields, Buffer.alloc(2), title, packed])
    const tail = Buffer.alloc(16)
    tail.writeUInt32LE(lie.at ?? at, 12)
    directory.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\x00'), fields, tail, title]))
    chunks.push(local)
    at += local.length
  }
  const list = Buffer.concat(directory)
  const last = Buffer.alloc(22 + (end.comment?.length ?? 0))
  last.write('PK\x05\x06')
  last.writeUInt16LE(end.count ?? parts.length, 8)
  last.writeUInt16LE(end.count ?? parts.length, 10)
  last.writeUInt32LE(list.length, 12)
  last.writeUInt32LE(end.at ?? at, 16)
  last.writeUInt16LE(end.comment?.length ?? 0, 20)
  last.write(end.comment ?? '', 22)
  return new Uint8Array(Buffer.concat([...chunks, list, last]))
}

describe('readZip', () => {
  it('reads what client-zip writes, from bytes and from a blob', async () => {
    const zip = await downloadZip([
      { name: 'adapter/adapter_config.json', input: '{"é": 1}' },
      { name: 'adapter/weights.bin', input: BIG },
      { name: 'empty', input: '' },
    ]).blob()
    for (const input of [zip, new Uint8Array(await zip.arrayBuffer())]) {
      const source = await readZip(input)
      expect(await source.list()).toEqual([
        { name: 'adapter/adapter_config.json', size: 9 },
        { name: 'adapter/weights.bin', size: 300_000 },
        { name: 'empty', size: 0 },
      ])
      expect(same(await source.read('adapter/weights.bin'), BIG)).toBe(true)
      expect(same(await source.read('adapter/weights.bin', 7, 1000), BIG.slice(7, 1000))).toBe(true)
      expect(await source.read('empty')).toEqual(new Uint8Array(0))
    }
  })

  it('unpacks, skips folders, and reads archives with a comment', async () => {
    const parts = [
      { name: 'a/', bytes: new Uint8Array(0), stored: true },
      { name: 'a/b.bin', bytes: BIG },
      { name: './c.txt', bytes: text('hello') },
      { name: '__MACOSX/a/._b.bin', bytes: text('junk') },
    ]
    const source = await readZip(archive(parts, { comment: 'made by hand' }))
    expect((await source.list()).map(({ name }) => name)).toEqual(['a/b.bin', 'c.txt'])
    expect(same(await source.read('a/b.bin'), BIG)).toBe(true)
    expect(new TextDecoder().decode(await source.read('c.txt'))).toBe('hello')
    await expect(source.read('d')).rejects.toMatchObject({ code: 'file.missing' })
  })

  it('finds the folder that holds a file', async () => {
    const files = ['deep/er/adapter_config.json', 'x/adapter_config.json', 'x/w', 'y/w']
    const source = await readZip(archive(files.map((name) => ({ name, bytes: text(name) }))))
    const inside = await enterFolder(source, 'adapter_config.json')
    expect((await inside.list()).map(({ name }) => name)).toEqual(['adapter_config.json', 'w'])
    expect(new TextDecoder().decode(await inside.read('w'))).toBe('x/w')
    expect(await enterFolder(source, 'nothing.json')).toBe(source)
  })
})

describe('archives that are refused', () => {
  it.each(['../a', 'a/../../b', '/etc/passwd', 'C:\\x', 'C:x', '..\\a', '\\a', 'a\0b', ''])(
    'the path %j',
    async (name) => {
      await expect(readZip(archive([{ name, bytes: text('x') }]))).rejects.toMatchObject({ code: 'file.unreadable' })
    },
  )

  const whole = archive([{ name: 'a', bytes: BIG }])
  it.each<[string, Uint8Array]>([
    ['nothing', new Uint8Array(0)],
    ['text', text('not a zip at all, whatever it may be called')],
    ['half an archive', whole.slice(0, whole.length / 2)],
    ['an archive without its start', whole.slice(100)],
    ['a directory that lies elsewhere', archive([{ name: 'a', bytes: BIG }], { at: 5 })],
    ['a directory past the end', archive([{ name: 'a', bytes: BIG }], { at: 4_000_000_000 })],
    ['more files than there are', archive([{ name: 'a', bytes: BIG }], { count: 3 })],
    ['encryption', archive([{ name: 'a', bytes: BIG, lie: { flags: 1 } }])],
    ['another packing', archive([{ name: 'a', bytes: BIG, lie: { method: 12 } }])],
    [
      'the same file twice',
      archive([
        { name: 'a', bytes: BIG },
        { name: 'a', bytes: BIG },
      ]),
    ],
    [
      'overlapping files',
      archive([
        { name: 'a', bytes: BIG },
        { name: 'b', bytes: BIG, lie: { at: 0 } },
      ]),
    ],
    ['a stored file of two sizes', archive([{ name: 'a', bytes: BIG, stored: true, lie: { size: 5 } }])],
    ['packed bytes past the end', archive([{ name: 'a', bytes: BIG, lie: { packed: 4_000_000 } }])],
  ])('%s', async (_, bytes) => {
    await expect(readZip(bytes)).rejects.toMatchObject({ code: 'file.unreadable', fix: expect.stringMatching(/./) })
  })

  it.each<[string, Part['lie'], string]>([
    ['a wrong checksum', { crc: 1 }, 'file.unreadable'],
    ['more than it says', { size: 100 }, 'file.too-large'],
    ['less than it says', { size: 300_001 }, 'file.unreadable'],
  ])('when read: %s', async (_, lie, code) => {
    const source = await readZip(archive([{ name: 'a', bytes: BIG, lie }]))
    await expect(source.read('a')).rejects.toMatchObject({ code })
  })

  it('damaged packed bytes', async () => {
    const bytes = whole.slice()
    bytes.fill(0xff, 200, 400)
    await expect((await readZip(bytes)).read('a')).rejects.toMatchObject({ code: 'file.unreadable' })
  })

  it('bombs: by ratio, by total, by number of files', { timeout: 30_000 }, async () => {
    const zeros = new Uint8Array(20_000_000)
    await expect(readZip(archive([{ name: 'a', bytes: zeros }]))).rejects.toMatchObject({ code: 'file.too-large' })
    const many = Array.from({ length: 20 }, (_, i) => ({ name: `${i}`, bytes: BIG }))
    const tight = { ...ZIP_LIMITS, total: 1_000_000 }
    await expect(readZip(archive(many), tight)).rejects.toMatchObject({ code: 'file.too-large' })
    await expect(readZip(archive(many), { ...ZIP_LIMITS, files: 19 })).rejects.toMatchObject({ code: 'file.too-large' })
    await expect(readZip(archive(many), { ...ZIP_LIMITS, files: 20 })).resolves.toBeDefined()
  })
})
