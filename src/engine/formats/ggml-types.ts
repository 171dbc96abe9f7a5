/**
 * The ways in which GGUF files hold numbers, as ggml has them: plain floats, Q8_0 (32 bytes and one scale a block), Q4_0 (read only).
 * Refuses other packings.
 */
import { bfloatsToFloats, floatsToBfloats, floatsToHalves, halvesToFloats } from './float16'

export type GgmlType = 'F32' | 'F16' | 'BF16' | 'Q8_0' | 'Q4_0'

/** Number on disk, values in a block, bytes of a block. */
export const GGML_TYPES: { readonly [T in GgmlType]: { id: number; block: number; bytes: number } } = {
  F32: { id: 0, block: 1, bytes: 4 },
  F16: { id: 1, block: 1, bytes: 2 },
  BF16: { id: 30, block: 1, bytes: 2 },
  Q8_0: { id: 8, block: 32, bytes: 34 },
  Q4_0: { id: 2, block: 32, bytes: 18 },
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
    case 'Q4_0':
      throw new Error('Q4_0 is only read')
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
    case 'Q8_0':
      return fromBlocks(own, 34, (data, at, i) => ((data[at + i] as number) << 24) >> 24)
    case 'Q4_0':
      // The low halves of the 16 bytes are the first 16 values, the high halves the rest.
      return fromBlocks(own, 18, (data, at, i) => (((data[at + (i & 15)] as number) >> (i < 16 ? 0 : 4)) & 15) - 8)
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

function fromBlocks(
  bytes: Uint8Array,
  size: number,
  value: (data: Uint8Array, at: number, i: number) => number,
): Float32Array {
  const blocks = bytes.length / size
  const out = new Float32Array(blocks * 32)
  const scales = halvesToFloats(
    Uint16Array.from(
      { length: blocks },
      (_, b) => (bytes[b * size] as number) | ((bytes[b * size + 1] as number) << 8),
    ),
  )
  for (let block = 0; block < blocks; block++) {
    const scale = scales[block] as number
    for (let i = 0; i < 32; i++) out[block * 32 + i] = value(bytes, block * size + 2, i) * scale
  }
  return out
}
