/** Frozen weights in fewer bits: what rounding costs, NF4 as bitsandbytes has it, and that every op uses exactly the rounded values. */
import { describe, expect, test } from 'vitest'
import { crossEntropyWithGrad, embed, FrozenMatrix, linear } from '../../src/engine/ops'
import { checkBuffer } from '../../src/engine/ops/frozen-matrix'
import { SIGNED_MAP, UNSIGNED_MAP } from '../../src/engine/ops/dynamic-map'
import { tile } from '../../src/engine/ops/host-weights'
import { nf4Bytes } from '../../src/engine/ops/nf4'
import { groupSize, pack, unpack } from '../../src/engine/ops/packing'
import { halvesToFloats } from '../../src/engine/formats/float16'
import { tf } from '../../src/engine/tf'
import { expectClose, random, tapeGradients, values } from '../support/backends'
import { readQuantised } from '../support/golden'

test('groups divide a row', () => {
  expect([576, 96, 48, 20, 6, 7].map(groupSize)).toEqual([64, 32, 16, 4, 2, 1])
})

test('f16 keeps eleven bits, int8 half a step of its group', () => {
  const original = values(4 * 128, 1, 3)
  const half = unpack(pack(original, 128, 'f16'), original.length)
  for (const [i, value] of original.entries()) {
    expect(Math.abs(half[i]! - value)).toBeLessThanOrEqual(Math.max(Math.abs(value) * 2 ** -11, 2 ** -25))
  }
  const packed = pack(original, 128, 'int8')
  const bytes = unpack(packed, original.length)
  for (const [i, value] of original.entries()) {
    expect(Math.abs(bytes[i]! - value)).toBeLessThanOrEqual(packed.scales![Math.floor(i / packed.group)]! * 0.5001)
  }
})

test('f16 keeps what is too large for it finite', () => {
  expect(Array.from(unpack(pack(Float32Array.of(1e6, -1e6, 1, 0), 4, 'f16'), 4))).toEqual([65504, -65504, 1, 0])
})

test("NF4 and the dynamic numbers are bitsandbytes'", async () => {
  const golden = await readQuantised()
  for (const [map, wanted] of [
    [SIGNED_MAP, golden.signed],
    [UNSIGNED_MAP, golden.unsigned],
  ] as const)
    // prettier-ignore
    wanted.forEach((value, i) => expect(map[i]).toBe(Math.fround(value)))
  for (const { shape, f16, codes, values } of golden.nf4) {
    const original = halvesToFloats(Uint16Array.from(f16))
    const packed = pack(original, shape[1]!, 'nf4')
    const back = unpack(packed, original.length)
    const size = Math.max(...values.map(Math.abs))
    const zero = (block: number): boolean =>
      original.subarray(64 * block, 64 * block + 64).every((value) => value === 0)
    codes.forEach((code, i) => {
      // bitsandbytes divides zero by zero in a block of zeros and takes what comes; here it stays zero.
      if (zero(i >> 6)) return expect(Math.abs(back[i]!)).toBe(0)
      expect((packed.words[i >> 3]! >>> (4 * (i & 7))) & 15, `code ${i}`).toBe(code)
      expect(Math.abs(back[i]! - values[i]!), `value ${i}`).toBeLessThanOrEqual(3e-7 * size)
    })
  }
})

test.skipIf(tf.getBackend() !== 'wasm')('tiles of any size give the same product', async () => {
  const w = FrozenMatrix.from(values(37 * 64, 1), 37, 64, 'nf4')
  const [x, dy] = [random<tf.Rank.R2>([5, 64], 2), random<tf.Rank.R2>([5, 37], 3)]
  const [y, dx] = [w.forward(x), w.backward(dy)]
  const before = tile.elements
  tile.elements = 64 * 10
  try {
    await expectClose(w.forward(x), y, 1e-6)
    await expectClose(w.backward(dy), dx, 1e-6)
  } finally {
    tile.elements = before
  }
})

test('a group of zeros stays zero, extremes stay exact', () => {
  const packed = pack(Float32Array.from([0, 0, 0, 0, -2, 1, 0.5, 2]), 4, 'int8')
  expect(Array.from(unpack(packed, 8).slice(0, 5))).toEqual([0, 0, 0, 0, -2])
  expect(unpack(packed, 8)[7]).toBe(2)
})

test('a matrix that no buffer holds is refused, with what to do', () => {
  const limits = { maxBufferSize: 2 ** 28, maxStorageBufferBindingSize: 2 ** 27 }
  expect(() => checkBuffer(2 ** 27, limits)).not.toThrow()
  expect(() => checkBuffer(2 ** 27 + 4, limits)).toThrow('takes 129 MiB, and this GPU takes 128 MiB in one piece')
})

describe.each(['f16', 'bf16', 'int8', 'nf4'] as const)('a matrix in %s', (precision) => {
  // one group of 4, whole groups of 64, rows beyond a tile
  test.each([
    [9, 4],
    [37, 20],
    [70, 128],
  ])('of %i by %i computes with its rounded values', async (out, inn) => {
    const original = values(out * inn, 1)
    const w = FrozenMatrix.from(original, out, inn, precision)
    const rounded = FrozenMatrix.from(unpack(pack(original, inn, precision), out * inn), out, inn)
    await expectClose(w.dequantise(), rounded.dequantise(), 1e-6, 'values')
    const x = random<tf.Rank.R2>([11, inn], 2)
    const inputs = [x, random<tf.Rank.R2>([3, inn], 3), random<tf.Rank.R2>([out, 3], 4)]
    const run =
      (matrix: FrozenMatrix) =>
      (x: tf.Tensor, a: tf.Tensor, b: tf.Tensor): tf.Tensor2D =>
        linear(x as tf.Tensor2D, matrix, null, { a: a as tf.Tensor2D, b: b as tf.Tensor2D, scale: 0.5 })
    await expectClose(linear(x, w, null, null), linear(x, rounded, null, null), 1e-5, 'product')
    const [own, wanted] = [tapeGradients(run(w), inputs), tapeGradients(run(rounded), inputs)]
    for (const [i, gradient] of own.entries()) await expectClose(gradient, wanted[i]!, 1e-5, `gradient ${i}`)
    const ids = tf.tensor1d([out - 1, 0, 3, 3], 'int32')
    await expectClose(embed(ids, w), embed(ids, rounded), 1e-6, 'rows')
    const labels = tf.tensor1d([1, -100, 0, 2, 3, 4, 5, 6, 7, 8, 0], 'int32')
    const [loss, reference] = [w, rounded].map((head) => crossEntropyWithGrad(x, head, labels, 0.1))
    await expectClose(loss!.loss, reference!.loss, 1e-5, 'loss')
    await expectClose(loss!.dHidden, reference!.dHidden, 1e-5, 'loss gradient')
  })

  test('takes the bytes it should, and no tensor beside a GPU', () => {
    const before = tf.memory().numTensors
    const w = FrozenMatrix.from(values(64 * 128, 1), 64, 128, precision)
    const half = 64 * 128 * 2
    const wanted = { f16: half, bf16: half, int8: 64 * 128 + (64 * 128 * 4) / 64, nf4: nf4Bytes(64 * 128) }
    if (tf.getBackend() !== 'cpu') expect(w.bytes).toBe(wanted[precision])
    if (tf.getBackend() === 'wasm') expect(tf.memory().numTensors).toBe(before)
    w.dispose()
    expect(tf.memory().numTensors).toBe(before)
  })

  test('rows of odd width stay as they are', async () => {
    const original = values(5 * 7, 1)
    const w = FrozenMatrix.from(original, 5, 7, precision)
    await expectClose(w.dequantise(), tf.tensor2d(original, [5, 7]), 0)
  })
})
