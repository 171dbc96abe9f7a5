/** Frozen weights in f16 and int8: what rounding costs, and that every op uses exactly the rounded values. */
import { describe, expect, test } from 'vitest'
import { crossEntropyWithGrad, embed, FrozenMatrix, linear } from '../../src/engine/ops'
import { checkBuffer } from '../../src/engine/ops/frozen-matrix'
import { groupSize, pack, unpack } from '../../src/engine/ops/packing'
import { tf } from '../../src/engine/tf'
import { expectClose, onWebGPU, random, tapeGradients, values } from '../support/backends'

test('groups divide a row', () => {
  expect([576, 96, 48, 20, 6, 7].map(groupSize)).toEqual([64, 32, 16, 4, 2, 1])
})

test('f16 keeps eleven bits, int8 half a step of its group', () => {
  const original = values(4 * 128, 1, 3)
  const half = unpack(pack(original, 128, 'f16'))
  for (const [i, value] of original.entries()) {
    expect(Math.abs(half[i]! - value)).toBeLessThanOrEqual(Math.max(Math.abs(value) * 2 ** -11, 2 ** -25))
  }
  const packed = pack(original, 128, 'int8')
  const bytes = unpack(packed)
  for (const [i, value] of original.entries()) {
    expect(Math.abs(bytes[i]! - value)).toBeLessThanOrEqual(packed.scales![Math.floor(i / packed.group)]! * 0.5001)
  }
})

test('a group of zeros stays zero, extremes stay exact', () => {
  const packed = pack(Float32Array.from([0, 0, 0, 0, -2, 1, 0.5, 2]), 4, 'int8')
  expect(Array.from(unpack(packed).slice(0, 5))).toEqual([0, 0, 0, 0, -2])
  expect(unpack(packed)[7]).toBe(2)
})

test('a matrix that no buffer holds is refused, with what to do', () => {
  const limits = { maxBufferSize: 2 ** 28, maxStorageBufferBindingSize: 2 ** 27 }
  expect(() => checkBuffer(2 ** 27, limits)).not.toThrow()
  expect(() => checkBuffer(2 ** 27 + 4, limits)).toThrow('takes 129 MiB, and this GPU takes 128 MiB in one piece')
})

describe.each(['f16', 'int8'] as const)('a matrix in %s', (precision) => {
  // one group of 4, whole groups of 64, rows beyond a tile
  test.each([
    [9, 4],
    [37, 20],
    [70, 128],
  ])('of %i by %i computes with its rounded values', async (out, inn) => {
    const original = values(out * inn, 1)
    const w = FrozenMatrix.from(original, out, inn, precision)
    const rounded = FrozenMatrix.from(unpack(pack(original, inn, precision)), out, inn)
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

  test.skipIf(!onWebGPU())('takes the bytes it should', () => {
    const w = FrozenMatrix.from(values(64 * 128, 1), 64, 128, precision)
    expect(w.bytes).toBe(precision === 'f16' ? 64 * 128 * 2 : 64 * 128 + (64 * 128 * 4) / 64)
    const before = tf.memory().numTensors
    w.dispose()
    expect(before - tf.memory().numTensors).toBe(precision === 'f16' ? 1 : 2)
  })

  test('rows of odd width stay as they are', async () => {
    const original = values(5 * 7, 1)
    const w = FrozenMatrix.from(original, 5, 7, precision)
    await expectClose(w.dequantise(), tf.tensor2d(original, [5, 7]), 0)
  })
})
