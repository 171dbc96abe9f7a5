/** Products of halves on webgpu: factors rounded, sums in 32 bits, what is too large made infinite; in every tile and layout. */
import { afterAll, beforeAll, describe, expect, test as plainTest } from 'vitest'
import {
  arithmetic,
  arithmeticHere,
  inArithmetic,
  matrixUnits,
  usable,
  type Arithmetic,
} from '../../src/engine/ops/arithmetic'
import { dropoutMask } from '../../src/engine/ops/dropout'
import { FrozenMatrix } from '../../src/engine/ops/frozen-matrix'
import { gemm, kLast, weights, type Factor, type Gemm } from '../../src/engine/ops/gemm'
import { hasLanes } from '../../src/engine/ops/gemm-lanes'
import { largestTile } from '../../src/engine/ops/gemm-matrix'
import { tileOverride, type Tile } from '../../src/engine/ops/gemm-tile'
import { floatsToHalves, halvesToFloats } from '../../src/engine/formats/float16'
import { gpuDevice, onGPU } from '../../src/engine/ops/gpu'
import { findMatrixUnits } from '../../src/engine/ops/matrix-units'
import { MATRIX_FEATURE } from '../../src/shared/arithmetic'
import { tf } from '../../src/engine/tf'
import { expectClose, random, roundsHere, values } from '../support/backends'

/** Of the largest value, for sums of some tens of products of even numbers in ±1: two roundings of 2^-11 a product, or of 2^-10 where a device cuts instead. */
const TOLERANCE = 2e-3

const CASES: { mode: Arithmetic; tile: Tile | null }[] = [
  { mode: 'f16', tile: null },
  { mode: 'f16', tile: { tm: 4, tn: 4, wy: 4, wx: 4, bk: 16 } },
  { mode: 'matrix', tile: null },
  { mode: 'matrix', tile: onGPU() ? largestTile() : null },
]
const LAYOUTS = [
  ['k-last', 'k-last'],
  ['k-last', 'k-first'],
  ['k-first', 'k-first'],
] as const

let current: Arithmetic = 'f16'
const half = (product: Gemm): tf.Tensor2D => inArithmetic(current, () => gemm(product))

/** Seeded values; as halves that rounding leaves alone, or as they come. */
function filled<R extends tf.Rank>(shape: tf.ShapeMap[R], seed: number, exact: boolean): tf.Tensor<R> {
  if (!exact) return random<R>(shape, seed)
  const count = (shape as number[]).reduce((a, b) => a * b, 1)
  return tf.tensor<R>(halvesToFloats(floatsToHalves(values(count, seed))), shape)
}

function factor(
  layout: Factor['layout'],
  outer: number,
  k: number,
  seed: number,
  exact: boolean,
): { own: Factor; plain: tf.Tensor2D } {
  const tensor = filled<tf.Rank.R2>(layout === 'k-last' ? [outer, k] : [k, outer], seed, exact)
  return { own: { tensor, layout }, plain: layout === 'k-last' ? tensor : tf.transpose(tensor) }
}

async function largestDifference(a: tf.Tensor, b: tf.Tensor): Promise<number> {
  return ((await tf.max(tf.abs(tf.sub(a, b))).data()) as Float32Array)[0]!
}

describe.each(CASES)('halves: $mode with tile $tile', ({ mode, tile }) => {
  const test = plainTest.skipIf(!roundsHere(mode))
  beforeAll(() => {
    tileOverride.tile = tile
    current = mode
  })
  afterAll(() => {
    tileOverride.tile = null
  })

  test.each([
    [37, 41, 23],
    [40, 68, 36],
  ])('%i by %i by %i in every layout', async (m, n, k) => {
    for (const [a, b] of LAYOUTS) {
      // Factors that are halves already are multiplied and summed as in 32 bits.
      const [left, right] = [factor(a, m, k, 1, true), factor(b, n, k, 2, true)]
      const wanted = tf.matMul(left.plain, right.plain, false, true)
      await expectClose(half({ a: left.own, b: right.own }), wanted, 1e-5, `${a} ${b}`)
      const [rough, coarse] = [factor(a, m, k, 3, false), factor(b, n, k, 4, false)]
      const rounded = half({ a: rough.own, b: coarse.own })
      const exact = tf.matMul(rough.plain, coarse.plain, false, true)
      await expectClose(rounded, exact, TOLERANCE, `${a} ${b}, rounded`)
      expect(await largestDifference(rounded, exact), 'something was rounded').toBeGreaterThan(1e-5)
    }
  })

  test.each([0, 0.5])('bias, scale and low-rank part, %d of it dropped', async (rate) => {
    const [m, n, k, r] = [21, 36, 12, 5]
    const [a, b] = [factor('k-last', m, k, 1, true), factor('k-first', n, k, 2, true)]
    const low = { a: factor('k-last', m, r, 3, true), b: factor('k-first', n, r, 4, true) }
    const bias = random<tf.Rank.R1>([n], 5)
    const key = { rate, seed: 9, salt: 1 }
    const own = half({
      a: a.own,
      b: b.own,
      bias,
      scale: tf.scalar(2),
      low: { a: low.a.own, b: low.b.own },
      dropout: rate > 0 ? { key, on: 'low' } : null,
    })
    const mask = tf.tensor2d(dropoutMask(m * n, rate, 9, 1), [m, n])
    const update = tf.mul(tf.mul(tf.matMul(low.a.plain, low.b.plain, false, true), 2), mask)
    await expectClose(own, tf.add(tf.add(tf.matMul(a.plain, b.plain, false, true), update), bias))
  })

  test('dropped elements of a factor, scaled before they are rounded', async () => {
    const [m, n, k] = [12, 24, 20]
    const [a, b] = [factor('k-last', m, k, 1, true), factor('k-last', n, k, 2, true)]
    const own = half({ a: a.own, b: b.own, dropout: { key: { rate: 0.5, seed: 4, salt: 2 }, on: 'a' } })
    const mask = tf.tensor2d(dropoutMask(m * k, 0.5, 4, 2), [m, k])
    await expectClose(own, tf.matMul(tf.mul(a.plain, mask), b.plain, false, true))
  })

  test('a window of rows, read and written', async () => {
    const [a, b] = [factor('k-last', 30, 8, 1, true), factor('k-last', 11, 8, 2, true)]
    const into = tf.fill<tf.Rank.R2>([30, 11], 7)
    half({ a: a.own, b: b.own, rows: { count: 9, readFrom: 20, into, writeFrom: 3 } })
    const part = tf.matMul(tf.slice(a.plain, [20, 0], [9, 8]), b.plain, false, true)
    await expectClose(into, tf.concat([tf.fill([3, 11], 7), part, tf.fill([18, 11], 7)]))
  })

  test.each(['f16', 'nf4'] as const)('weights packed as %s', async (precision) => {
    const [m, out, inn] = [9, 20, 64]
    const w = FrozenMatrix.from(values(out * inn, 3), out, inn, precision)
    const [x, dy] = [filled<tf.Rank.R2>([m, inn], 1, true), filled<tf.Rank.R2>([m, out], 2, true)]
    const [forward, backward] = [half({ a: kLast(x), b: weights(w, 'k-last') }), half({ a: kLast(dy), b: weights(w, 'k-first') })] // prettier-ignore
    // Halves of halves are themselves.
    const tolerance = precision === 'f16' ? 1e-5 : TOLERANCE
    await expectClose(forward, w.forward(x), tolerance, 'forward')
    await expectClose(backward, w.backward(dy), tolerance, 'backward')
    w.dispose()
  })

  test('a deep product in slices', async () => {
    const [m, n, k] = [20, 24, 200]
    const [a, b] = [factor('k-first', m, k, 1, true), factor('k-first', n, k, 2, true)]
    tileOverride.slices = 3
    const own = half({ a: a.own, b: b.own, scale: 0.5 })
    tileOverride.slices = null
    await expectClose(own, tf.mul(tf.matMul(a.plain, b.plain, false, true), 0.5))
  })

  test('what is too large for a half makes its sums infinite', async () => {
    for (const [value, spoilt] of [
      [65504, false],
      [70000, true],
      [-1e9, true],
    ] as const) {
      const tensor = tf.tensor2d(values(40 * 24, 1), [40, 24])
      const data = Float32Array.from(await tensor.data())
      data[31 * 24 + 23] = value
      const a = tf.tensor2d(data, [40, 24])
      const b = tf.tensor2d(values(20 * 24, 2), [20, 24])
      const sums = (await half({ a: kLast(a), b: kLast(b) }).data()) as Float32Array
      const row = sums.subarray(31 * 20, 32 * 20)
      if (spoilt)
        expect(
          [...row].every((sum) => !Number.isFinite(sum)),
          `${value}`,
        ).toBe(true)
      else expect([...sums].every(Number.isFinite), `${value}`).toBe(true)
    }
  })
})

describe.skipIf(!roundsHere('matrix'))('matrix units', () => {
  plainTest('are used only where they multiply as the adapter says', async () => {
    const known = matrixUnits()!
    const { subgroupMinSize, subgroupMaxSize } = gpuDevice().adapterInfo
    const says = (side: number, sum = 'f32', lanes = subgroupMaxSize): GPUAdapterInfo =>
      ({
        subgroupMinSize,
        subgroupMaxSize: lanes,
        subgroupMatrixConfigs: [{ componentType: 'f16', resultComponentType: sum, M: side, N: known.n, K: known.k }],
      }) as unknown as GPUAdapterInfo
    for (const wrong of [says(2 * known.m), says(known.m, 'f16'), says(known.m, 'f32', 2 * subgroupMaxSize)]) {
      expect(await findMatrixUnits(wrong)).toBeNull()
      expect(arithmeticHere('matrix')).toBe('f16')
      expect(usable()).not.toContain(MATRIX_FEATURE)
      expect(usable().includes('subgroups')).toBe(hasLanes())
    }
    expect(await findMatrixUnits(says(known.m))).toEqual(known)
    expect(arithmeticHere('matrix')).toBe('matrix')
    expect(usable()).toEqual(expect.arrayContaining([MATRIX_FEATURE, 'subgroups']))
  })
})

plainTest('the scope ends with the work, also where that fails', () => {
  expect(() => inArithmetic('f16', () => { throw new Error(arithmetic()) })).toThrow('f16') // prettier-ignore
  expect(arithmetic()).toBe('f32')
})
