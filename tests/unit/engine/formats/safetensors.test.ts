/** safetensors: files that Python wrote, files that we write, and headers that lie. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
import { describe, expect, it } from 'vitest'
import {
  fromFloat32,
  readSafetensorsHeader,
  readTensor,
  toFloat32,
  writeSafetensors,
} from '../../../../src/engine/formats/safetensors'
import { CodedError, type ErrorCode } from '../../../../src/shared/errors'
import type { TensorData } from '../../../../src/shared/records'
import { dataFolder, diskFolder, memoryFolder } from '../../../support/folder'

const REAL = new Uint8Array(
  readFileSync(resolve(import.meta.dirname, '../../../golden/llama-gqa-tied/model.safetensors')),
)
const FILE = 'model.safetensors'

/** Header and every tensor of a file, as an importer would read them. */
async function readAll(bytes: Uint8Array): Promise<Map<string, TensorData>> {
  const source = memoryFolder({ [FILE]: bytes })
  const header = await readSafetensorsHeader(source, FILE)
  const out = new Map<string, TensorData>()
  for (const name of header.tensors.keys()) out.set(name, await readTensor(source, header, name))
  return out
}

/** A file with this header text and so many bytes of data. */
function file(header: string, data: number, claimed?: bigint): Uint8Array {
  const text = new TextEncoder().encode(header)
  const bytes = new Uint8Array(8 + text.length + data)
  new DataView(bytes.buffer).setBigUint64(0, claimed ?? BigInt(text.length), true)
  bytes.set(text, 8)
  return bytes
}

async function codeOf(bytes: Uint8Array): Promise<ErrorCode | 'read'> {
  try {
    await readAll(bytes)
    return 'read'
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    expect(error.fix).not.toBe('')
    return error.code
  }
}

describe('files', () => {
  it('reads what Python wrote, and writes the same tensors back', async () => {
    const tensors = await readAll(REAL)
    expect(tensors.get('model.embed_tokens.weight')?.shape).toEqual([101, 32])
    const again = await readAll(writeSafetensors(Object.fromEntries(tensors), { format: 'pt' }))
    expect([...again.keys()].sort()).toEqual([...tensors.keys()].sort())
    for (const [name, { dtype, shape, bytes }] of tensors) {
      expect(again.get(name)).toMatchObject({ dtype, shape })
      expect(Buffer.from(bytes).equals(again.get(name)!.bytes), name).toBe(true)
    }
    for (const tensor of tensors.values()) expect(toFloat32(tensor).every(Number.isFinite)).toBe(true)
  })

  it('writes byte for byte what Python writes', async () => {
    expect(Buffer.from(writeSafetensors(Object.fromEntries(await readAll(REAL)), { format: 'pt' })).equals(REAL)).toBe(
      true,
    )
  })

  it('reads a real model by range', async () => {
    const path = dataFolder('models/tinystories-656K')
    if (!path) return
    const source = diskFolder(path)
    const header = await readSafetensorsHeader(source, FILE)
    expect(header.tensors.get('lm_head.weight')?.shape).toEqual([2048, 128])
    const head = toFloat32(await readTensor(source, header, 'lm_head.weight'))
    expect(head.length).toBe(2048 * 128)
    expect(head.every(Number.isFinite)).toBe(true)
  })

  it('keeps values through every float type, wherever the bytes lie', async () => {
    const values = new Float32Array([0, -0, 1, -2.5, 0.333251953125, 65504, 2 ** -24, Infinity])
    for (const dtype of ['F32', 'F16'] as const) {
      const tensors: Record<string, TensorData> = {
        x: fromFloat32(values, [2, 4], dtype),
        odd: { dtype: 'U8', shape: [3], bytes: new Uint8Array(3) },
      }
      const back = (await readAll(writeSafetensors(tensors))).get('x')!
      expect([...toFloat32(back)]).toEqual([...values])
      const shifted = new Uint8Array(back.bytes.length + 1)
      shifted.set(back.bytes, 1)
      expect([...toFloat32({ ...back, bytes: shifted.subarray(1) })]).toEqual([...values])
    }
    const rough = new Float32Array([1, -3.140625, 1e30])
    const back = (await readAll(writeSafetensors({ x: fromFloat32(rough, [3], 'BF16') }))).get('x')!
    expect([...toFloat32(back)]).toEqual([1, -3.140625, expect.closeTo(1e30, -28)])
  })

  it('keeps empty tensors, scalars, odd names and metadata', async () => {
    const tensors: Record<string, TensorData> = {
      'a "b" \\ é 😀': { dtype: 'F32', shape: [], bytes: new Uint8Array(4) },
      none: { dtype: 'I64', shape: [0, 7], bytes: new Uint8Array(0) },
      n: { dtype: 'I64', shape: [1], bytes: new Uint8Array(8) },
    }
    const bytes = writeSafetensors(tensors, { note: 'ü"' })
    expect(Object.fromEntries(await readAll(bytes))).toEqual(tensors)
    expect((await readSafetensorsHeader(memoryFolder({ [FILE]: bytes }), FILE)).metadata).toEqual({ note: 'ü"' })
    expect(Object.fromEntries(await readAll(writeSafetensors({})))).toEqual({})
  })

  it('refuses to write bytes that do not fit their shape', () => {
    expect(() => writeSafetensors({ x: { dtype: 'F32', shape: [2], bytes: new Uint8Array(4) } })).toThrow('x')
  })
})

const x = (change: Record<string, unknown> = {}) =>
  JSON.stringify({ x: { dtype: 'F32', shape: [2], data_offsets: [0, 8], ...change } })

describe('headers that lie', () => {
  it.each<[string, Uint8Array, ErrorCode]>([
    ['an empty file', new Uint8Array(0), 'model.truncated'],
    ['seven bytes', new Uint8Array(7), 'model.truncated'],
    ['a header longer than the file', file(x(), 8, 10_000n), 'model.truncated'],
    ['a header of absurd length', file(x(), 8, 2n ** 63n), 'model.header'],
    ['a header of no length', file('', 0), 'model.header'],
    ['a header that is not JSON', file('{"x": ', 0), 'model.header'],
    ['a header that is a list', file('[1, 2]', 0), 'model.header'],
    ['a header that is not UTF-8', file('{"\ud800x": 1}', 0).map((b) => (b === 0xef ? 0xff : b)), 'model.header'],
    ['a byte order mark', file('\ufeff{}', 0), 'model.header'],
    ['white space before the header', file(` ${x()}`, 8), 'model.header'],
    ['a name twice', file(`${x().slice(0, -1)},${x().slice(1)}`, 8), 'model.header'],
    [
      'a name twice, once escaped',
      file(`${x().slice(0, -1)},"\\u0078":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}}`, 8),
      'model.header',
    ],
    ['a tensor that is a number', file('{"x": 4}', 0), 'model.header'],
    ['metadata that are not texts', file('{"__metadata__": {"a": 1}}', 0), 'model.header'],
    ['an unknown type', file(x({ dtype: 'F33' }), 8), 'model.header'],
    ['a type that objects have', file(x({ dtype: 'constructor' }), 8), 'model.header'],
    ['a negative size', file(x({ shape: [-2] }), 8), 'model.header'],
    ['half a size', file(x({ shape: [2.5] }), 8), 'model.header'],
    ['a size in words', file(x({ shape: ['2'] }), 8), 'model.header'],
    ['an absurd size', file(x({ shape: [1e9, 1e9, 1e9] }), 8), 'model.header'],
    ['a shape that is too large', file(x({ shape: [3] }), 8), 'model.header'],
    ['three offsets', file(x({ data_offsets: [0, 4, 8] }), 8), 'model.header'],
    ['offsets the wrong way round', file(x({ data_offsets: [8, 0] }), 8), 'model.header'],
    ['a hole at the start', file(x({ data_offsets: [4, 12] }), 12), 'model.header'],
    ['bytes left over', file(x(), 12), 'model.header'],
    ['too few bytes', file(x(), 7), 'model.truncated'],
    ['an absurd offset', file(x({ data_offsets: [0, 8e15], shape: [2e15] }), 8), 'model.truncated'],
    [
      'an overlap',
      file(`${x().slice(0, -1)},"y":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}`, 12),
      'model.header',
    ],
    [
      'the same bytes twice',
      file(`${x().slice(0, -1)},"y":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, 8),
      'model.header',
    ],
    ['a type that cannot be used', file(x({ dtype: 'F64', shape: [1] }), 8), 'model.tensors'],
  ])('%s', async (_, bytes, code) => {
    expect(await codeOf(bytes)).toBe(code)
  })

  it('is read where nothing is wrong', async () => {
    expect(await codeOf(file(x(), 8))).toBe('read')
    expect(await codeOf(file(`${x()}    `, 8))).toBe('read')
  })

  it(
    'never crashes on 1,000 mutations of a real file, and never reads past its tensors',
    { timeout: 60_000 },
    async () => {
      const random = xoroshiro128plus(20240607)
      const pick = (below: number) => uniformInt(random, 0, below - 1)
      const headerEnd = 8 + Number(new DataView(REAL.buffer, REAL.byteOffset).getBigUint64(0, true))
      const scraps = [
        '"',
        '{',
        '}',
        '[',
        ']',
        ',',
        ':',
        '-1',
        '1e9',
        '99999999999999999999',
        'null',
        '\\',
        '\\u0000',
        '"F16"',
        '[0,0]',
        '0',
        ' ',
        '\u0000',
        'é',
        '"__proto__":{}',
      ]
      const outcomes = new Map<string, number>()
      for (let i = 0; i < 1000; i++) {
        let bytes = REAL.slice()
        for (let change = pick(3); change >= 0; change--) {
          const at = pick(10) === 0 ? pick(8) : 8 + pick(headerEnd - 8)
          switch (pick(6)) {
            case 0:
              bytes[at]! ^= 1 << pick(8)
              break
            case 1:
              bytes[at] = pick(256)
              break
            case 2: {
              // Another digit, the likeliest way to lie.
              let digit = at
              while (digit < headerEnd && (bytes[digit]! < 48 || bytes[digit]! > 57)) digit++
              if (digit < headerEnd) bytes[digit] = 48 + pick(10)
              break
            }
            case 3:
              bytes = bytes.slice(0, pick(bytes.length))
              break
            case 4: {
              const scrap = new TextEncoder().encode(scraps[pick(scraps.length)])
              const fits = at + scrap.length <= bytes.length
              if (fits) bytes.set(scrap, at)
              break
            }
            case 5:
              bytes = new Uint8Array(Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + pick(40))]))
              break
          }
          if (bytes.length < headerEnd) break
        }
        const outcome = await codeOf(bytes)
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      }
      expect(outcomes.get('model.header')).toBeGreaterThan(100)
      expect(outcomes.get('model.truncated')).toBeGreaterThan(10)
    },
  )
})

describe('what stands in for weights', () => {
  it.each([
    ['version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n', /Git LFS pointer/],
    ['<!DOCTYPE html><html><body>Sign in</body></html>', /web page/],
    ['<html lang="en"></html>', /web page/],
  ])('is called by its name: %s', async (text, what) => {
    const source = memoryFolder({ [FILE]: new TextEncoder().encode(text) })
    await expect(readSafetensorsHeader(source, FILE)).rejects.toMatchObject({ code: 'model.header', message: what })
  })
})
