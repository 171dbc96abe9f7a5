/**
 * Weights in fewer bits: f16 and int8 with a scale for every group of neighbours in a row.
 * Refuses nothing, but rounds: what comes back is the nearest value of the format.
 */
import { floatsToHalves, halvesToFloats } from '../formats/float16'

/** How a frozen matrix is kept on the device. */
export type Precision = 'f32' | 'f16' | 'int8'

/** Packed values: `words` little-endian as the device reads them, one scale a group where there are scales. */
export interface PackedValues {
  words: Int32Array
  scales: Float32Array | null
  /** Neighbours in a row that share a scale. */
  group: number
}

/** The largest of the usual group sizes that divides a row. */
export function groupSize(inn: number): number {
  return [64, 32, 16, 8, 4, 2].find((size) => inn % size === 0) ?? 1
}

/** `inn` must be a multiple of 4. Int8 is symmetric: each group's largest magnitude becomes 127. */
export function pack(values: Float32Array, inn: number, precision: 'f16' | 'int8'): PackedValues {
  if (precision === 'f16') return { words: new Int32Array(floatsToHalves(values).buffer), scales: null, group: 1 }
  const group = groupSize(inn)
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

/** The values that {@link pack} kept. */
export function unpack({ words, scales, group }: PackedValues): Float32Array {
  if (!scales) return halvesToFloats(new Uint16Array(words.buffer, words.byteOffset, words.length * 2))
  const bytes = new Int8Array(words.buffer, words.byteOffset, words.length * 4)
  return Float32Array.from(bytes, (value, i) => value * scales[Math.floor(i / group)]!)
}

/** WGSL element type of the words when four values are read at once. */
export function packedType(precision: 'f16' | 'int8'): string {
  return precision === 'f16' ? 'vec2<u32>' : 'u32'
}

/** WGSL that sets the vec4 `v` to the four values number `at` of the words called `name`. */
export function unpackWGSL(name: string, precision: 'f16' | 'int8', group: number): string {
  if (precision === 'f16') return `let p = ${name}[at]; v = vec4<f32>(unpack2x16float(p.x), unpack2x16float(p.y));`
  const scale =
    group >= 4
      ? `${name}_scales[at / ${group / 4}u]`
      : `vec4<f32>(${[0, 1, 2, 3].map((i) => `${name}_scales[(at * 4u + ${i}u) / ${group}u]`).join(', ')})`
  return `let p = bitcast<i32>(${name}[at]);
    v = vec4<f32>(vec4<i32>(p << 24u, p << 16u, p << 8u, p) >> vec4<u32>(24u)) * ${scale};`
}
