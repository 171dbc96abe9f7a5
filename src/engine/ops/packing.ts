/**
 * Weights in fewer bits: f16, bf16, int8 with a scale for every group of neighbours in a row, and NF4.
 * Refuses nothing, but rounds: what comes back is the nearest value of the format.
 */
import { bfloatsToFloats, floatsToBfloats, floatsToHalves, halvesToFloats } from '../formats/float16'
import { NF4_WGSL, packNf4, unpackNf4, unpackNf4WGSL } from './nf4'

/** How a frozen matrix is kept. */
export type Precision = 'f32' | Narrow
/** Those with fewer bits than an f32. */
export type Narrow = 'f16' | 'bf16' | 'int8' | 'nf4'

/** Packed values (f32 ones are only put away as they are): `words` little-endian as the device reads them, and scales where there are some. */
export interface PackedValues {
  precision: Precision
  words: Int32Array
  /** One f32 a group for int8; for NF4 see nf4.ts. */
  scales: Float32Array | Int32Array | null
  /** Neighbours in a row that share a scale. */
  group: number
}

/** The largest of the usual group sizes that divides a row. */
export function groupSize(inn: number): number {
  return [64, 32, 16, 8, 4, 2].find((size) => inn % size === 0) ?? 1
}

/** `inn` must be a multiple of 4. Int8 is symmetric: each group's largest magnitude becomes 127. */
export function pack<P extends Precision>(
  values: Float32Array,
  inn: number,
  precision: P,
): PackedValues & { precision: P } {
  return { ...packed(values, inn, precision), precision }
}

function packed(values: Float32Array, inn: number, precision: Precision): Omit<PackedValues, 'precision'> {
  switch (precision) {
    case 'f32':
      return { words: new Int32Array(values.buffer, values.byteOffset, values.length), scales: null, group: 1 }
    case 'f16':
      return { words: new Int32Array(finiteHalves(values).buffer), scales: null, group: 1 }
    case 'bf16':
      return { words: new Int32Array(floatsToBfloats(values).buffer), scales: null, group: 1 }
    case 'nf4':
      return { ...packNf4(values), group: 64 }
    case 'int8':
      return packBytes(values, groupSize(inn))
  }
}

/** Halves of finite floats; what is too large becomes the largest half rather than infinite. */
function finiteHalves(values: Float32Array): Uint16Array {
  const halves = floatsToHalves(values)
  for (let i = 0; i < halves.length; i++)
    if ((halves[i]! & 0x7c00) === 0x7c00) halves[i] = (halves[i]! & 0x8000) | 0x7bff
  return halves
}

function packBytes(values: Float32Array, group: number): Omit<PackedValues, 'precision'> {
  const scales = new Float32Array(values.length / group)
  const bytes = new Int8Array(values.length)
  for (let g = 0; g < scales.length; g++) {
    let most = 0
    for (let i = g * group; i < (g + 1) * group; i++) most = Math.max(most, Math.abs(values[i]!))
    scales[g] = most / 127
    const inverse = most === 0 ? 0 : 127 / most
    for (let i = g * group; i < (g + 1) * group; i++) bytes[i] = Math.round(values[i]! * inverse)
  }
  return { words: new Int32Array(bytes.buffer), scales, group }
}

/** Fills `out` with the values that {@link pack} kept, from value `from` on. */
export function unpackInto({ precision, words, scales, group }: PackedValues, from: number, out: Float32Array): void {
  if (precision === 'nf4') return unpackNf4(words, scales as Int32Array, from, out)
  if (precision === 'int8') {
    const bytes = new Int8Array(words.buffer, words.byteOffset + from, out.length)
    for (let i = 0; i < out.length;) {
      const scale = (scales as Float32Array)[((from + i) / group) | 0]!
      const end = Math.min(out.length, i + group - ((from + i) % group))
      for (; i < end; i++) out[i] = bytes[i]! * scale
    }
    return
  }
  if (precision === 'f32') {
    out.set(new Float32Array(words.buffer, words.byteOffset + 4 * from, out.length))
    return
  }
  const bits = new Uint16Array(words.buffer, words.byteOffset + 2 * from, out.length)
  out.set(precision === 'f16' ? halvesToFloats(bits) : bfloatsToFloats(bits))
}

/** All `count` values that {@link pack} kept. */
export function unpack(packed: PackedValues, count: number): Float32Array {
  const values = new Float32Array(count)
  unpackInto(packed, 0, values)
  return values
}

/** Bytes of packed values. */
export function packedBytes({ words, scales }: PackedValues): number {
  return words.byteLength + (scales?.byteLength ?? 0)
}

/** WGSL element type of the words when four values are read at once. */
export function packedType(precision: Narrow): string {
  return precision === 'f16' || precision === 'bf16' ? 'vec2<u32>' : 'u32'
}

/** WGSL element type of the scales. */
export function scaleType(precision: Narrow): string {
  return precision === 'nf4' ? 'u32' : 'f32'
}

/** Module-scope WGSL that {@link unpackWGSL} needs, once a program. */
export function packedHeader(precision: Narrow): string {
  return precision === 'nf4' ? NF4_WGSL : ''
}

/** WGSL that sets the vec4 `v` to the four values number `at` of the words called `name`. */
export function unpackWGSL(name: string, precision: Narrow, group: number): string {
  if (precision === 'f16') return `let p = ${name}[at]; v = vec4<f32>(unpack2x16float(p.x), unpack2x16float(p.y));`
  if (precision === 'bf16')
    return `let p = ${name}[at]; v = bitcast<vec4<f32>>(vec4<u32>(p.x << 16u, p.x & 0xffff0000u, p.y << 16u, p.y & 0xffff0000u));`
  if (precision === 'nf4') return unpackNf4WGSL(name)
  const scale =
    group >= 4
      ? `${name}_scales[at / ${group / 4}u]`
      : `vec4<f32>(${[0, 1, 2, 3].map((i) => `${name}_scales[(at * 4u + ${i}u) / ${group}u]`).join(', ')})`
  return `let p = bitcast<i32>(${name}[at]);
    v = vec4<f32>(vec4<i32>(p << 24u, p << 16u, p << 8u, p) >> vec4<u32>(24u)) * ${scale};`
}
