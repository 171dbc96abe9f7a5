/**
 * NF4 of QLoRA (Dettmers et al. 2023, arXiv:2305.14314) as bitsandbytes computes it: 4-bit numbers in blocks of 64 along the
 * row-major matrix, their scales again in 8 bits. Refuses other block sizes; a block of zeros stays zero.
 */
import { nearest, SIGNED_MAP } from './dynamic-map'

/** Quantiles of a normal distribution, scaled to [-1, 1]; number 7 is zero. */
const CODE = Float32Array.of(
  -1,
  -0.6961928009986877,
  -0.5250730514526367,
  -0.39491748809814453,
  -0.28444138169288635,
  -0.18477343022823334,
  -0.09105003625154495,
  0,
  0.07958029955625534,
  0.16093020141124725,
  0.24611230194568634,
  0.33791524171829224,
  0.44070982933044434,
  0.5626170039176941,
  0.7229568362236023,
  1,
)
const ZERO = 7
const BLOCK = 64
/** Scales that share a scale of their own. */
const SUPER = 256

/** Where things stand in the words of the scales: start of the bytes, mean, the 256 dynamic numbers, then a scale for each 256 blocks. */
const [BYTES_AT, MEAN_AT, MAP_AT, SUPER_AT] = [0, 1, 2, 258]

/** Bytes that `count` values take, scales included. */
export function nf4Bytes(count: number): number {
  return 4 * (Math.ceil(count / 8) + scaleWords(Math.ceil(count / BLOCK)))
}

function scaleWords(blocks: number): number {
  return SUPER_AT + Math.ceil(blocks / SUPER) + Math.ceil(blocks / 4)
}

/** Place of the nearest number of the code. */
function nearestCode(value: number): number {
  let [best, least] = [0, Infinity]
  for (let i = 0; i < 16; i++) {
    const off = Math.abs(Math.fround(value - CODE[i]!))
    if (off < least) [best, least] = [i, off]
  }
  return best
}

/** 4-bit words (the first value lowest) and the words of the scales. */
export function packNf4(values: Float32Array): { words: Int32Array; scales: Int32Array } {
  const blocks = Math.ceil(values.length / BLOCK)
  const words = new Int32Array(Math.ceil(values.length / 8))
  const largest = new Float32Array(blocks)
  for (let block = 0; block < blocks; block++) {
    const end = Math.min(values.length, (block + 1) * BLOCK)
    let most = 0
    for (let i = block * BLOCK; i < end; i++) most = Math.max(most, Math.abs(values[i]!))
    largest[block] = most
    const inverse = Math.fround(1 / most)
    for (let i = block * BLOCK; i < end; i++) {
      const code = most === 0 ? ZERO : nearestCode(Math.max(-1, Math.min(1, Math.fround(values[i]! * inverse))))
      words[i >> 3] = words[i >> 3]! | (code << (4 * (i & 7)))
    }
  }
  return { words, scales: packScales(largest) }
}

/** The second quantisation: scales less their mean, in 8 bits with one f32 scale for each 256. */
function packScales(largest: Float32Array): Int32Array {
  const scales = new Int32Array(scaleWords(largest.length))
  const floats = new Float32Array(scales.buffer)
  const bytesAt = SUPER_AT + Math.ceil(largest.length / SUPER)
  const bytes = new Uint8Array(scales.buffer, 4 * bytesAt)
  const mean = Math.fround(largest.reduce((sum, value) => sum + value, 0) / largest.length)
  scales[BYTES_AT] = bytesAt
  floats[MEAN_AT] = mean
  floats.set(SIGNED_MAP, MAP_AT)
  for (let from = 0; from < largest.length; from += SUPER) {
    const rest = largest.slice(from, from + SUPER).map((value) => value - mean)
    const most = rest.reduce((top, value) => Math.max(top, Math.abs(value)), 0)
    floats[SUPER_AT + from / SUPER] = most
    const inverse = Math.fround(1 / most)
    rest.forEach((value, i) => {
      bytes[from + i] = nearest(SIGNED_MAP, most === 0 ? 0 : Math.fround(value * inverse))
    })
  }
  return scales
}

/** Values `from` … `from + out.length` of packed ones. */
export function unpackNf4(words: Int32Array, scales: Int32Array, from: number, out: Float32Array): void {
  const floats = new Float32Array(scales.buffer, scales.byteOffset, scales.length)
  const bytes = new Uint8Array(scales.buffer, scales.byteOffset + 4 * scales[BYTES_AT]!)
  const mean = floats[MEAN_AT]!
  let known = -1
  let scale = 0
  for (let i = 0; i < out.length; i++) {
    const at = from + i
    const block = (at / BLOCK) | 0
    if (block !== known) {
      known = block
      const part = Math.fround(floats[MAP_AT + bytes[block]!]! * floats[SUPER_AT + ((block / SUPER) | 0)]!)
      scale = Math.fround(part + mean)
    }
    out[i] = CODE[(words[at >> 3]! >>> (4 * (at & 7))) & 15]! * scale
  }
}

/** Module-scope WGSL that {@link unpackNf4WGSL} needs, once a program. */
export const NF4_WGSL = `const NF4 = array<f32, 16>(${Array.from(CODE, (value) => value.toPrecision(9)).join(', ')});`

/** WGSL that sets the vec4 `v` to the four values number `at` of the words called `name` (u32) with `name_scales` (u32). */
export function unpackNf4WGSL(name: string): string {
  const scales = `${name}_scales`
  return `let p = ${name}[at / 2u] >> (16u * (at % 2u));
    let block = at / ${BLOCK / 4}u;
    let byte = (${scales}[${scales}[${BYTES_AT}] + block / 4u] >> (8u * (block % 4u))) & 255u;
    let scale = bitcast<f32>(${scales}[${MAP_AT}u + byte]) * bitcast<f32>(${scales}[${SUPER_AT}u + block / ${SUPER}u]) + bitcast<f32>(${scales}[${MEAN_AT}]);
    v = vec4<f32>(NF4[p & 15u], NF4[(p >> 4u) & 15u], NF4[(p >> 8u) & 15u], NF4[(p >> 12u) & 15u]) * scale;`
}
