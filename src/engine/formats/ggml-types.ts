/**
 * The ways in which GGUF files hold numbers, as ggml has them: plain floats and Q8_0, and the other common packings, which are only read.
 * Refuses packings that are not listed.
 */
import { bfloatsToFloats, floatsToBfloats, floatsToHalves, halvesToFloats } from './float16'
import { BLOCK_FORMATS, unpackBlocks } from './ggml-blocks'

export type GgmlType = 'F32' | 'F16' | 'BF16' | keyof typeof BLOCK_FORMATS

/** Number on disk, values in a block, bytes of a block. */
export const GGML_TYPES: { readonly [T in GgmlType]: { id: number; block: number; bytes: number } } = {
  F32: { id: 0, block: 1, bytes: 4 },
  F16: { id: 1, block: 1, bytes: 2 },
  BF16: { id: 30, block: 1, bytes: 2 },
  Q4_0: packed(2, 'Q4_0'),
  Q4_1: packed(3, 'Q4_1'),
  Q5_0: packed(6, 'Q5_0'),
  Q5_1: packed(7, 'Q5_1'),
  Q8_0: packed(8, 'Q8_0'),
  Q4_K: packed(12, 'Q4_K'),
  Q5_K: packed(13, 'Q5_K'),
  Q6_K: packed(14, 'Q6_K'),
}

function packed(id: number, type: keyof typeof BLOCK_FORMATS): { id: number; block: number; bytes: number } {
  const { block, bytes } = BLOCK_FORMATS[type]
  return { id, block, bytes }
}

/** Bytes of a tensor; NaN where its rows are not made of whole blocks. */
export function byteCount(type: GgmlType, shape: readonly number[]): number {
  const { block, bytes } = GGML_TYPES[type]
  const count = shape.reduce((product, size) => product * size, 1)
  if ((shape.at(-1) ?? 1) % block !== 0) return NaN
  return (count / block) * bytes
}

/** Values to bytes. */
export function encodeTensor(type: GgmlType, values: Float32Array): Uint8Array {
  switch (type) {
    case 'F32':
      return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
    case 'F16':
      return new Uint8Array(floatsToHalves(values).buffer)
    case 'BF16':
      return new Uint8Array(floatsToBfloats(values).buffer)
    case 'Q8_0':
      return toQ8(values)
    default:
      throw new Error(`${type} is only read`)
  }
}

/** Bytes to values. */
export function decodeTensor(type: GgmlType, bytes: Uint8Array): Float32Array {
  const own = bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice()
  switch (type) {
    case 'F32':
      return new Float32Array(own.buffer)
    case 'F16':
      return halvesToFloats(new Uint16Array(own.buffer))
    case 'BF16':
      return bfloatsToFloats(new Uint16Array(own.buffer))
    default:
      return unpackBlocks(type, bytes)
  }
}

/** A block's largest size becomes 127; scales are kept in half precision (quantize_row_q8_0_ref of ggml). */
function toQ8(values: Float32Array): Uint8Array {
  const blocks = values.length / 32
  const out = new Uint8Array(blocks * 34)
  const scales = new Float32Array(blocks)
  for (let block = 0; block < blocks; block++) {
    const from = block * 32
    let largest = 0
    for (let i = 0; i < 32; i++) largest = Math.max(largest, Math.abs(values[from + i] as number))
    const scale = Math.fround(largest / 127)
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale)
    scales[block] = scale
    for (let i = 0; i < 32; i++) {
      const value = Math.fround((values[from + i] as number) * inverse)
      // roundf: halves go away from zero.
      out[block * 34 + 2 + i] = Math.sign(value) * Math.floor(Math.abs(value) + 0.5)
    }
  }
  floatsToHalves(scales).forEach((half, block) => {
    out[block * 34] = half & 0xff
    out[block * 34 + 1] = half >> 8
  })
  return out
}
