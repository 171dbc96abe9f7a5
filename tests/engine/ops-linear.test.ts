/** linear, logits and embed against naive compositions, finite differences and their own plain forms. */
import { describe, expect, test } from 'vitest'
import { embed, FrozenMatrix, linear, logits, type LoraPair } from '../../src/engine/ops'
import { dropoutMask } from '../../src/engine/ops/dropout'
import { linearReference } from '../../src/engine/ops/linear'
import { tf } from '../../src/engine/tf'
import { expectClose, expectFiniteDifference, onWebGPU, random, tapeGradients, values } from '../support/backends'

function matrix(out: number, inn: number, seed: number): FrozenMatrix {
  return FrozenMatrix.from(values(out * inn, seed), out, inn)
}

/** n, in, out, r: one row, primes, multiples of 4, larger than a tile in every direction. */
const SHAPES = [
  [1, 5, 3, 1],
  [7, 13, 11, 3],
  [9, 16, 20, 4],
  [70, 33, 67, 5],
  [130, 64, 72, 8],
] as const

describe('linear', () => {
  test.each(SHAPES)('equals x·Wᵀ + bias + s·(x·Aᵀ)·Bᵀ at n %i, in %i, out %i, r %i', async (n, inn, out, r) => {
    const w = matrix(out, inn, 1)
    const x = random<tf.Rank.R2>([n, inn], 2)
    const bias = random<tf.Rank.R1>([out], 3)
    const [a, b] = [random<tf.Rank.R2>([r, inn], 4), random<tf.Rank.R2>([out, r], 5)]
    const plain = tf.matMul(x, tf.tensor2d(values(out * inn, 1), [out, inn]), false, true)
    await expectClose(linear(x, w, null, null), plain, 1e-5, 'plain')
    await expectClose(linear(x, w, bias, null), tf.add(plain, bias), 1e-5, 'bias')
    const update = tf.mul(tf.matMul(tf.matMul(x, a, false, true), b, false, true), 0.5)
    await expectClose(linear(x, w, null, { a, b, scale: 0.5 }), tf.add(plain, update), 1e-5, 'lora')
    const all = tf.add(tf.add(plain, bias), update)
    await expectClose(linear(x, w, bias, { a, b, scale: tf.scalar(0.5) }), all, 1e-5, 'bias, lora, scale on device')
  })

  test.each(SHAPES)('has the plain composition’s gradients at n %i, in %i, out %i, r %i', async (n, inn, out, r) => {
    const w = matrix(out, inn, 1)
    const plain = tf.tensor2d(values(out * inn, 1), [out, inn])
    const inputs = [random<tf.Rank.R2>([n, inn], 2), random<tf.Rank.R2>([r, inn], 4), random<tf.Rank.R2>([out, r], 5)]
    const own = tapeGradients((x, a, b) => {
      return linear(x as tf.Tensor2D, w, null, { a: a as tf.Tensor2D, b: b as tf.Tensor2D, scale: 0.7 })
    }, inputs)
    const naive = tapeGradients((x, a, b) => {
      const update = tf.matMul(tf.matMul(x, a, false, true), b, false, true)
      return tf.add(tf.matMul(x, plain, false, true), tf.mul(update, 0.7))
    }, inputs)
    for (const [i, gradient] of own.entries()) await expectClose(gradient, naive[i]!, 1e-5, `input ${i}`)
  })

  test.each([false, true])('adds itself to a tensor as tf.add does, gradients too; with LoRA: %s', async (adapted) => {
    const w = matrix(20, 16, 1)
    const pair = { a: random<tf.Rank.R2>([3, 16], 4), b: random<tf.Rank.R2>([20, 3], 5), scale: 0.7 }
    const lora = adapted ? pair : null
    const inputs = [random<tf.Rank.R2>([9, 16], 2), random<tf.Rank.R2>([9, 20], 3)]
    const own = (x: tf.Tensor, plus: tf.Tensor): tf.Tensor =>
      linear(x as tf.Tensor2D, w, null, lora, plus as tf.Tensor2D)
    const apart = (x: tf.Tensor, plus: tf.Tensor): tf.Tensor => tf.add(plus, linear(x as tf.Tensor2D, w, null, lora))
    const [x, plus] = inputs as [tf.Tensor, tf.Tensor]
    await expectClose(own(x, plus), apart(x, plus), 1e-6)
    const [found, wanted] = [tapeGradients(own, inputs), tapeGradients(apart, inputs)]
    for (const [i, gradient] of found.entries()) await expectClose(gradient, wanted[i]!, 1e-6, `input ${i}`)
  })

  test.skipIf(onWebGPU())('has gradients that finite differences confirm, dropout included', async () => {
    const w = matrix(4, 5, 1)
    const inputs = [random<tf.Rank.R2>([3, 5], 2), random<tf.Rank.R2>([2, 5], 4), random<tf.Rank.R2>([4, 2], 5)]
    await expectFiniteDifference((x, a, b) => {
      const dropout = { rate: 0.3, seed: 7, salt: 2 }
      return linear(x as tf.Tensor2D, w, null, { a: a as tf.Tensor2D, b: b as tf.Tensor2D, scale: 1.5, dropout })
    }, inputs)
  })

  test('drops the adapter’s input alone, by the seed, which may lie on the device', async () => {
    const [n, inn, out, r] = [6, 9, 7, 2]
    const w = matrix(out, inn, 1)
    const x = random<tf.Rank.R2>([n, inn], 2)
    const lora = { a: random<tf.Rank.R2>([r, inn], 4), b: random<tf.Rank.R2>([out, r], 5), scale: 2 }
    const dropped = tf.mul(x, tf.tensor2d(dropoutMask(n * inn, 0.4, 11, 3), [n, inn])) as tf.Tensor2D
    const wanted = tf.add(
      linear(x, w, null, null),
      tf.mul(tf.matMul(tf.matMul(dropped, lora.a, false, true), lora.b, false, true), 2),
    )
    const draw = (seed: number | tf.Tensor): LoraPair => ({ ...lora, dropout: { rate: 0.4, seed, salt: 3 } })
    await expectClose(linear(x, w, null, draw(11)), wanted, 1e-5, 'number')
    if (!onWebGPU()) await expectClose(linear(x, w, null, draw(tf.scalar(11, 'int32'))), wanted, 1e-5, 'tensor')
    const other = await tf
      .sub(linear(x, w, null, draw(12)), wanted)
      .abs()
      .max()
      .data()
    expect(other[0]).toBeGreaterThan(0.01)
  })

  test('is the same as its plain form, gradients too', async () => {
    const w = matrix(37, 29, 1)
    const inputs = [random<tf.Rank.R2>([41, 29], 2), random<tf.Rank.R2>([3, 29], 4), random<tf.Rank.R2>([37, 3], 5)]
    const bias = random<tf.Rank.R1>([37], 6)
    const run =
      (op: typeof linear) =>
      (x: tf.Tensor, a: tf.Tensor, b: tf.Tensor): tf.Tensor2D =>
        op(x as tf.Tensor2D, w, bias, { a: a as tf.Tensor2D, b: b as tf.Tensor2D, scale: 0.7 })
    const [x, a, b] = inputs as [tf.Tensor2D, tf.Tensor2D, tf.Tensor2D]
    await expectClose(run(linear)(x, a, b), run(linearReference)(x, a, b))
    const [own, plain] = [tapeGradients(run(linear), inputs), tapeGradients(run(linearReference), inputs)]
    for (const [i, gradient] of own.entries()) await expectClose(gradient, plain[i]!, 1e-5, `input ${i}`)
  })

  test('leaves no tensor behind', () => {
    const w = matrix(6, 5, 1)
    const inputs = [random<tf.Rank.R2>([3, 5], 2), random<tf.Rank.R2>([2, 5], 4), random<tf.Rank.R2>([6, 2], 5)]
    const once = (): void =>
      tf.dispose(
        tapeGradients(
          (x, a, b) => linear(x as tf.Tensor2D, w, null, { a: a as tf.Tensor2D, b: b as tf.Tensor2D, scale: 1 }),
          inputs,
        ),
      )
    once()
    const before = tf.memory().numTensors
    once()
    expect(tf.memory().numTensors).toBe(before)
  })
})

describe('FrozenMatrix', () => {
  test('gives back its values, counts its bytes, frees everything', async () => {
    const before = tf.memory().numTensors
    const w = matrix(3, 5, 1)
    expect([w.out, w.in]).toEqual([3, 5])
    expect(w.bytes).toBeGreaterThanOrEqual(60)
    const back = w.dequantise()
    expect(Array.from(await back.data())).toEqual(Array.from(values(15, 1)))
    tf.dispose(linear(tf.keep(tf.tensor2d([[1, 2, 3, 4, 5]])), w, null, null))
    back.dispose()
    w.dispose()
    expect(tf.memory().numTensors).toBe(before + 1)
  })

  test('refuses values that do not fill it', () => {
    expect(() => FrozenMatrix.from(new Float32Array(5), 2, 3)).toThrow('5 values for a 2 by 3 matrix')
  })
})

test('embed takes rows, logits multiplies with the same table', async () => {
  const table = matrix(9, 5, 3)
  const plain = tf.tensor2d(values(45, 3), [9, 5])
  const rows = embed(tf.tensor1d([8, 0, 8, 3], 'int32'), table)
  await expectClose(rows, tf.gather(plain, tf.tensor1d([8, 0, 8, 3], 'int32')), 0)
  await expectClose(logits(rows, table), tf.matMul(rows, plain, false, true))
})
