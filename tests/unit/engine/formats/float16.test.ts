/** Every half and every bfloat16, there and back, and every rounding boundary between two neighbours. */
import { describe, expect, it } from 'vitest'
import {
  bfloatsToFloats,
  floatsToBfloats,
  floatsToHalves,
  halvesToFloats,
} from '../../../../src/engine/formats/float16'

const ALL = Uint16Array.from({ length: 65536 }, (_, i) => i)

/** A half by the definition of the format. */
function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  if (exponent === 31) return fraction ? NaN : sign * Infinity
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -14 * (fraction / 1024)
}

/** The float next to a positive one. */
function step(value: number, by: 1 | -1): number {
  const float = new Float32Array([value])
  const bits = new Int32Array(float.buffer)
  bits[0]! += by
  return float[0]!
}

describe('half precision', () => {
  it('reads all 65,536 values', () => {
    halvesToFloats(ALL).forEach((value, bits) => {
      if (!Object.is(value, half(bits))) throw new Error(`${bits.toString(16)}: ${value} is not ${half(bits)}`)
    })
  })

  it('writes every value back to its own bits, NaN to a NaN of its sign', () => {
    floatsToHalves(halvesToFloats(ALL)).forEach((back, bits) => {
      if (Number.isNaN(half(bits))) {
        if (!Number.isNaN(half(back)) || (back & 0x8000) !== (bits & 0x8000))
          throw new Error(`NaN ${bits.toString(16)}`)
      } else if (back !== bits) throw new Error(`${bits.toString(16)} came back as ${back.toString(16)}`)
    })
  })

  it('rounds to the nearest, and ties to even, between every two neighbours', () => {
    for (let low = 0; low < 0x7c00; low++) {
      const top = low === 0x7bff ? 65536 : half(low + 1)
      const middle = (half(low) + top) / 2
      const even = low % 2 === 0 ? low : low + 1
      const got = floatsToHalves(new Float32Array([middle, step(middle, -1), step(middle, 1), -middle]))
      const want = [even, low, low + 1, even | 0x8000]
      if (got.join() !== want.join()) throw new Error(`around ${middle}: ${got.join()} is not ${want.join()}`)
    }
  })

  it('has infinity for what is too large and zero for what is too small', () => {
    const got = floatsToHalves(
      new Float32Array([65519, 65520, 1e30, -1e30, Infinity, -Infinity, 2 ** -25, 2 ** -26, -1e-40]),
    )
    expect([...got]).toEqual([0x7bff, 0x7c00, 0x7c00, 0xfc00, 0x7c00, 0xfc00, 0, 0, 0x8000])
  })
})

describe('bfloat16', () => {
  it('reads and writes every value', () => {
    const floats = bfloatsToFloats(ALL)
    const float = new DataView(new ArrayBuffer(4))
    ALL.forEach((bits) => {
      float.setUint32(0, bits * 65536)
      if (!Object.is(floats[bits], float.getFloat32(0))) throw new Error(`${bits.toString(16)}: ${floats[bits]}`)
    })
    floatsToBfloats(floats).forEach((back, bits) => {
      const same = Number.isNaN(floats[bits]) ? (back & 0x7fff) > 0x7f80 && (back ^ bits) < 0x8000 : back === bits
      if (!same) throw new Error(`${bits.toString(16)} came back as ${back.toString(16)}`)
    })
  })

  it('rounds ties to even', () => {
    const middle = [1 + 2 ** -8, 1 + 3 * 2 ** -8]
    expect([
      ...floatsToBfloats(new Float32Array([...middle, step(middle[0]!, 1), step(middle[1]!, -1), 3.4e38])),
    ]).toEqual([0x3f80, 0x3f82, 0x3f81, 0x3f81, 0x7f80])
  })
})
