/**
 * Half precision and bfloat16 to and from float32, rounded to nearest even as IEEE 754 has it, subnormals, infinities and NaN included.
 * Refuses to know about tensors or files.
 */

/** All 65,536 halves as floats; made on first use. */
let table: Float32Array | null = null

function halfTable(): Float32Array {
  if (table) return table
  table = new Float32Array(65536)
  const bits = new Uint32Array(table.buffer)
  for (let half = 0; half < 65536; half++) {
    const sign = (half & 0x8000) << 16
    const exponent = (half >> 10) & 0x1f
    const fraction = half & 0x3ff
    if (exponent === 0x1f) bits[half] = sign | 0x7f800000 | (fraction << 13)
    else if (exponent > 0) bits[half] = sign | ((exponent + 112) << 23) | (fraction << 13)
    else {
      table[half] = fraction * 2 ** -24
      bits[half] = (bits[half] as number) | sign
    }
  }
  return table
}

/** One half (as its bits) as a float. */
export function halfToFloat(half: number): number {
  return halfTable()[half] as number
}

/** Halves (as their bits) to floats. */
export function halvesToFloats(halves: Uint16Array): Float32Array {
  const values = halfTable()
  const out = new Float32Array(halves.length)
  for (let i = 0; i < halves.length; i++) out[i] = values[halves[i] as number] as number
  return out
}

/** Floats to halves (as their bits); what is too large becomes infinite. */
export function floatsToHalves(floats: Float32Array): Uint16Array {
  const bits = new Uint32Array(floats.buffer, floats.byteOffset, floats.length)
  const out = new Uint16Array(floats.length)
  for (let i = 0; i < bits.length; i++) out[i] = toHalf(bits[i] as number)
  return out
}

/** The bits of a float to those of the nearest half; ties go to the even one. */
function toHalf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000
  const size = bits & 0x7fffffff
  // NaN keeps its top bits and stays quiet; infinity stays.
  if (size >= 0x7f800000) return sign | 0x7c00 | (size > 0x7f800000 ? 0x200 | ((size >> 13) & 0x3ff) : 0)
  // 65520 is halfway between the largest half and the next power of two.
  if (size >= 0x477ff000) return sign | 0x7c00
  if (size >= 0x38800000) return sign | ((size - 0x38000000 + 0xfff + ((size >> 13) & 1)) >> 13)
  // Below 2^-14 halves are multiples of 2^-24; below half of that nothing is left.
  if (size <= 0x33000000) return sign
  const shift = 126 - (size >> 23)
  const fraction = (size & 0x7fffff) | 0x800000
  const kept = fraction >> shift
  const rest = fraction & ((1 << shift) - 1)
  const half = 1 << (shift - 1)
  return sign | (kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0))
}

/** bfloat16 (as bits) to floats. */
export function bfloatsToFloats(bfloats: Uint16Array): Float32Array {
  const bits = new Uint32Array(bfloats.length)
  for (let i = 0; i < bfloats.length; i++) bits[i] = (bfloats[i] as number) << 16
  return new Float32Array(bits.buffer)
}

/** Floats to bfloat16 (as bits), ties to even. */
export function floatsToBfloats(floats: Float32Array): Uint16Array {
  const bits = new Uint32Array(floats.buffer, floats.byteOffset, floats.length)
  const out = new Uint16Array(floats.length)
  for (let i = 0; i < bits.length; i++) {
    const value = bits[i] as number
    const nan = (value & 0x7fffffff) > 0x7f800000
    out[i] = nan ? (value >>> 16) | 0x40 : (value + 0x7fff + ((value >>> 16) & 1)) >>> 16
  }
  return out
}
