/**
 * Unpacks the block formats of ggml (ggml-quants.c): values of a block share scales in half precision. Refuses to pack; rounding follows
 * the reference step by step, in single precision.
 */
import { halfToFloat } from './float16'

const { fround } = Math

/** Writes the values of one block; `half(i)` is the i-th scale of the block. */
type Unpack = (bytes: Uint8Array, at: number, half: (offset: number) => number, out: Float32Array, to: number) => void

const byte = (bytes: Uint8Array, at: number) => bytes[at] as number
/** Low halves of 16 bytes are the first 16 values, high halves the rest. */
const nibble = (bytes: Uint8Array, at: number, i: number) => (byte(bytes, at + (i & 15)) >> (i < 16 ? 0 : 4)) & 15
/** The fifth bit of a value, from 32 bits. */
const fifth = (bytes: Uint8Array, at: number, i: number) => ((byte(bytes, at + (i >> 3)) >> (i & 7)) & 1) << 4

/** Values to a block of 256 in the k-quants. */
const SUPER = 256

export const BLOCK_FORMATS = {
  Q4_0: {
    block: 32,
    bytes: 18,
    unpack(bytes, at, half, out, to) {
      const d = half(0)
      for (let i = 0; i < 32; i++) out[to + i] = d * (nibble(bytes, at + 2, i) - 8)
    },
  },
  Q4_1: {
    block: 32,
    bytes: 20,
    unpack(bytes, at, half, out, to) {
      const [d, m] = [half(0), half(2)]
      for (let i = 0; i < 32; i++) out[to + i] = fround(d * nibble(bytes, at + 4, i)) + m
    },
  },
  Q5_0: {
    block: 32,
    bytes: 22,
    unpack(bytes, at, half, out, to) {
      const d = half(0)
      for (let i = 0; i < 32; i++) out[to + i] = d * ((nibble(bytes, at + 6, i) | fifth(bytes, at + 2, i)) - 16)
    },
  },
  Q5_1: {
    block: 32,
    bytes: 24,
    unpack(bytes, at, half, out, to) {
      const [d, m] = [half(0), half(2)]
      for (let i = 0; i < 32; i++) {
        out[to + i] = fround(d * (nibble(bytes, at + 8, i) | fifth(bytes, at + 4, i))) + m
      }
    },
  },
  Q8_0: {
    block: 32,
    bytes: 34,
    unpack(bytes, at, half, out, to) {
      const d = half(0)
      for (let i = 0; i < 32; i++) out[to + i] = d * ((byte(bytes, at + 2 + i) << 24) >> 24)
    },
  },
  Q4_K: {
    block: SUPER,
    bytes: 144,
    unpack(bytes, at, half, out, to) {
      for (let group = 0; group < 8; group++) {
        const { scale, least } = groupScale(bytes, at + 4, group, half)
        const from = at + 16 + (group >> 1) * 32
        for (let i = 0; i < 32; i++) {
          const value = (byte(bytes, from + i) >> (group & 1 ? 4 : 0)) & 15
          out[to + group * 32 + i] = fround(scale * value) - least
        }
      }
    },
  },
  Q5_K: {
    block: SUPER,
    bytes: 176,
    unpack(bytes, at, half, out, to) {
      for (let group = 0; group < 8; group++) {
        const { scale, least } = groupScale(bytes, at + 4, group, half)
        const from = at + 48 + (group >> 1) * 32
        for (let i = 0; i < 32; i++) {
          const low = (byte(bytes, from + i) >> (group & 1 ? 4 : 0)) & 15
          const high = ((byte(bytes, at + 16 + i) >> group) & 1) << 4
          out[to + group * 32 + i] = fround(scale * (low | high)) - least
        }
      }
    },
  },
  Q6_K: {
    block: SUPER,
    bytes: 210,
    unpack(bytes, at, half, out, to) {
      const d = half(208)
      for (let i = 0; i < SUPER; i++) {
        const [part, inner] = [i >> 7, i & 127]
        const low = (byte(bytes, at + part * 64 + (inner & 63)) >> (inner < 64 ? 0 : 4)) & 15
        const high = (byte(bytes, at + 128 + part * 32 + (inner & 31)) >> (2 * (inner >> 5))) & 3
        const scale = fround(d * ((byte(bytes, at + 192 + (i >> 4)) << 24) >> 24))
        out[to + i] = scale * ((low | (high << 4)) - 32)
      }
    },
  },
} as const satisfies Record<string, { block: number; bytes: number; unpack: Unpack }>

/** Scale and minimum of a group of 32 in Q4_K and Q5_K: six bits each, packed into twelve bytes. */
function groupScale(
  bytes: Uint8Array,
  at: number,
  group: number,
  half: (offset: number) => number,
): { scale: number; least: number } {
  const low = (offset: number) => byte(bytes, at + offset + (group & 3))
  const first = group < 4
  const scale = first ? low(0) & 63 : (low(8) & 15) | ((low(0) >> 2) & 48)
  const least = first ? low(4) & 63 : (low(8) >> 4) | ((low(4) >> 2) & 48)
  return { scale: fround(half(0) * scale), least: fround(half(2) * least) }
}

/** All values of whole blocks. */
export function unpackBlocks(type: keyof typeof BLOCK_FORMATS, bytes: Uint8Array): Float32Array {
  const { block, bytes: size, unpack } = BLOCK_FORMATS[type]
  const blocks = bytes.length / size
  const out = new Float32Array(blocks * block)
  for (let i = 0; i < blocks; i++) {
    const at = i * size
    const half = (offset: number) => halfToFloat(byte(bytes, at + offset) | (byte(bytes, at + offset + 1) << 8))
    unpack(bytes, at, half, out, i * block)
  }
  return out
}
