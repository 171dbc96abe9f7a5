/** Every tile of the webgpu product against TensorFlow.js's matMul: layouts, odd sizes, folded parts, windows of rows. */
import { afterAll, beforeAll, describe, test } from 'vitest'
import { FrozenMatrix } from '../../src/engine/ops'
import { gemm, weights, type Factor, type Gemm } from '../../src/engine/ops/gemm'
import { tileOverride, type Tile } from '../../src/engine/ops/gemm-tile'
import { dropoutMask } from '../../src/engine/ops/dropout'
import { tf } from '../../src/engine/tf'
import { expectClose, onWebGPU, random, values } from '../support/backends'

/** The first is what the device would take itself: on a processor that computes four side by side the lanes of gemm-lanes.ts. */
const TILES: (Tile | null)[] = [
  null,
  { tm: 4, tn: 4, wy: 4, wx: 4, bk: 16 },
  { tm: 4, tn: 4, wy: 8, wx: 16, bk: 16 },
  { tm: 8, tn: 4, wy: 4, wx: 8, bk: 8 },
  { tm: 4, tn: 4, wy: 8, wx: 8, bk: 0 },
  { tm: 8, tn: 8, wy: 2, wx: 2, bk: 0 },
]
const LAYOUTS = [
  ['k-last', 'k-last'],
  ['k-last', 'k-first'],
  ['k-first', 'k-first'],
] as const

/** The factor stored as its layout says, and its plain `[outer, k]` form. */
function factor(layout: Factor['layout'], outer: number, k: number, seed: number): { own: Factor; plain: tf.Tensor2D } {
  const shape: [number, number] = layout === 'k-last' ? [outer, k] : [k, outer]
  const tensor = random<tf.Rank.R2>(shape, seed)
  return { own: { tensor, layout }, plain: layout === 'k-last' ? tensor : tf.transpose(tensor) }
}

describe.skipIf(!onWebGPU()).each(TILES.map((tile) => ({ tile })))('gemm with tile $tile', ({ tile }) => {
  beforeAll(() => {
    tileOverride.tile = tile
  })
  afterAll(() => {
    tileOverride.tile = null
  })

  test.each([
    [37, 41, 23],
    [40, 68, 36],
    [7, 16, 33],
    [3, 5, 2],
  ])('%i by %i by %i in every layout', async (m, n, k) => {
    for (const [a, b] of LAYOUTS) {
      const [left, right] = [factor(a, m, k, 1), factor(b, n, k, 2)]
      const wanted = tf.matMul(left.plain, right.plain, false, true)
      await expectClose(gemm({ a: left.own, b: right.own }), wanted, 1e-5, `${a} ${b}`)
    }
  })

  test.each([
    ['bias, scale, low-rank part and a matrix added', 0],
    ['bias, scale, masked low-rank part and a matrix added', 0.5],
  ])('%s', async (_, rate) => {
    for (const n of [36, 19]) {
      const [m, k, r] = [21, 12, 5]
      const [a, b] = [factor('k-last', m, k, 1), factor('k-first', n, k, 2)]
      const low = { a: factor('k-last', m, r, 3), b: factor('k-first', n, r, 4) }
      const [bias, plus] = [random<tf.Rank.R1>([n], 5), random<tf.Rank.R2>([m, n], 6)]
      const key = { rate, seed: 9, salt: 1 }
      const own = gemm({
        a: a.own,
        b: b.own,
        bias,
        plus,
        scale: 3,
        low: { a: low.a.own, b: low.b.own },
        dropout: rate > 0 ? { key, on: 'low' } : null,
      })
      const mask = tf.tensor2d(dropoutMask(m * n, rate, 9, 1), [m, n])
      const update = tf.mul(tf.mul(tf.matMul(low.a.plain, low.b.plain, false, true), 3), mask)
      await expectClose(own, tf.addN([tf.matMul(a.plain, b.plain, false, true), update, tf.add(bias, plus)]))
    }
  })

  test('a window of rows, read and written', async () => {
    const [a, b] = [factor('k-last', 30, 8, 1), factor('k-last', 11, 8, 2)]
    const into = tf.fill<tf.Rank.R2>([30, 11], 7)
    gemm({ a: a.own, b: b.own, rows: { count: 9, readFrom: 20, into, writeFrom: 3 } })
    const part = tf.matMul(tf.slice(a.plain, [20, 0], [9, 8]), b.plain, false, true)
    await expectClose(into, tf.concat([tf.fill([3, 11], 7), part, tf.fill([18, 11], 7)]))
  })
})

/** Of a depth of 70, whose last slice is then a short one. */
const SLICED: { tile: Tile | null; slices: number }[] = [
  { tile: null, slices: 3 },
  { tile: { tm: 4, tn: 8, wy: 2, wx: 4, bk: 16 }, slices: 4 },
]

describe.skipIf(!onWebGPU()).each(SLICED)('gemm in $slices slices with tile $tile', (forced) => {
  beforeAll(() => {
    Object.assign(tileOverride, forced)
  })
  afterAll(() => {
    Object.assign(tileOverride, { tile: null, slices: null })
  })

  const k = 70
  const plainProduct = (a: tf.Tensor2D, b: tf.Tensor2D): tf.Tensor2D => tf.matMul(a, b, false, true)

  test.each([
    [7, 16],
    [9, 13],
  ])('%i by %i in every layout, scaled, and a matrix added', async (m, n) => {
    const plus = random<tf.Rank.R2>([m, n], 4)
    for (const [layoutA, layoutB] of LAYOUTS) {
      const [a, b] = [factor(layoutA, m, k, 1), factor(layoutB, n, k, 2)]
      const wanted = tf.add(tf.mul(plainProduct(a.plain, b.plain), 3), plus)
      const product = { a: a.own, b: b.own, scale: tf.scalar(3), plus }
      await expectClose(gemm(product), wanted, 1e-5, `${layoutA} ${layoutB}`)
    }
  })

  test('masked factors, a bias and a window of rows', async () => {
    const [m, n] = [12, 20]
    const [a, b] = [factor('k-last', m, k, 1), factor('k-first', n, k, 2)]
    const mask = (count: number): tf.Tensor => tf.tensor(dropoutMask(count, 0.5, 9, 1))
    const key = { rate: 0.5, seed: 9, salt: 1 }
    const product: Gemm = { a: a.own, b: b.own }
    const left = tf.mul(a.plain, tf.reshape(mask(m * k), [m, k])) as tf.Tensor2D
    const onA = gemm({ ...product, dropout: { key, on: 'a' } })
    await expectClose(onA, plainProduct(left, b.plain), 1e-5, 'on a')
    const right = tf.mul(b.plain, tf.transpose(tf.reshape(mask(n * k), [k, n]))) as tf.Tensor2D
    const onB = gemm({ ...product, dropout: { key, on: 'b' } })
    await expectClose(onB, plainProduct(a.plain, right), 1e-5, 'on b')
    const bias = random<tf.Rank.R1>([n], 5)
    const into = tf.fill<tf.Rank.R2>([14, n], 7)
    gemm({ ...product, bias, scale: 2, rows: { count: 8, readFrom: 3, into, writeFrom: 4 } })
    const part = tf.add(tf.mul(plainProduct(tf.slice(a.plain, [3, 0], [8, k]), b.plain), 2), bias)
    await expectClose(into, tf.concat([tf.fill([4, n], 7), part, tf.fill([2, n], 7)]), 1e-5, 'window')
  })

  test('low-rank parts leave it whole', async () => {
    const [a, b] = [factor('k-last', 5, k, 1), factor('k-last', 8, k, 2)]
    const [left, right] = [factor('k-last', 5, 4, 3), factor('k-last', 8, 4, 4)]
    const own = gemm({ a: a.own, b: b.own, low: { a: left.own, b: right.own }, scale: 2 })
    await expectClose(own, tf.add(plainProduct(a.plain, b.plain), tf.mul(plainProduct(left.plain, right.plain), 2)))
  })

  test.each(['f16', 'int8', 'nf4'] as const)('weights in %s', async (precision) => {
    const w = FrozenMatrix.from(values(12 * 72, 3), 12, 72, precision)
    const whole = w.natural()
    const x = random<tf.Rank.R2>([6, 72], 1)
    await expectClose(gemm({ a: { tensor: x, layout: 'k-last' }, b: weights(w, 'k-last') }), plainProduct(x, whole))
    const dy = random<tf.Rank.R2>([6, 12], 2)
    await expectClose(gemm({ a: { tensor: dy, layout: 'k-last' }, b: weights(w, 'k-first') }), tf.matMul(dy, whole))
    w.dispose()
  })
})
