/** Every tile of the webgpu product against TensorFlow.js's matMul: layouts, odd sizes, folded parts, windows of rows. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FrozenMatrix } from '../../src/engine/ops'
import { gemm, weights, type Factor, type Gemm } from '../../src/engine/ops/gemm'
import { CANDIDATES, SHAPES, type ShapeClass } from '../../src/engine/ops/gemm-candidates'
import { candidateFor, planFor, tileOverride, type Tile } from '../../src/engine/ops/gemm-tile'
import {
  readTuning,
  takeUpTuning,
  tuneOnce,
  tuneProducts,
  tuningKey,
  type TuningStore,
} from '../../src/engine/ops/gemm-tuning'
import { dropoutMask } from '../../src/engine/ops/dropout'
import { tf } from '../../src/engine/tf'
import { expectClose, onWebGPU, random, values } from '../support/backends'

/** What the device would take itself: on a processor that computes four side by side the lanes of gemm-lanes.ts. Then one read directly. */
const TILES: (Tile | null)[] = [null, { tm: 8, tn: 8, wy: 2, wx: 2, bk: 0 }]
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

/** Products that fit no tile of their class whole. */
const OF_CLASS: Record<ShapeClass, [m: number, n: number][]> = {
  row: [[1, 37], [6, 20]],
  thin: [[41, 7], [12, 70]],
  few: [[37, 52]],
  medium: [[70, 37]],
  large: [[37, 68]],
} // prettier-ignore

/** Every way that a graphics card may cut such products up, none twice. */
const EVERY = new Map(
  SHAPES.flatMap((shape) =>
    CANDIDATES[shape].map((candidate) => {
      const plans = OF_CLASS[shape].map(([m, n]) => planFor(candidate, { m, n, k: 130 }))
      return [
        JSON.stringify(plans.map(({ tile, slices }) => [tile, slices > 1])),
        { shape, name: candidate.name, candidate },
      ]
    }),
  ),
)

test.skipIf(!onWebGPU()).each([...EVERY.values()])(
  '$shape products in $name: sizes that fit no tile',
  async ({ shape, candidate }) => {
    tileOverride.candidate = candidate
    try {
      for (const [i, [m, n]] of OF_CLASS[shape].entries()) {
        const [layoutA, layoutB] = LAYOUTS[(i + candidate.name.length) % LAYOUTS.length]!
        const [a, b] = [factor(layoutA, m, 130, 1), factor(layoutB, n, 130, 2)]
        await expectClose(gemm({ a: a.own, b: b.own, scale: 2 }), tf.mul(tf.matMul(a.plain, b.plain, false, true), 2))
      }
    } finally {
      tileOverride.candidate = null
    }
  },
)

describe('measuring', () => {
  test('leaves processors as they are', async () => expect(await tuneProducts()).toBeNull())

  test.skipIf(!onWebGPU())('finds a candidate for each class, and takes up nothing but such', async () => {
    const seen: number[] = []
    const before = tf.memory().numTensors
    const tuning = (await tuneProducts({
      force: true,
      shapes: ['thin'],
      budget: 30,
      onProgress: (done) => void seen.push(done),
    }))!
    expect(tf.memory().numTensors).toBe(before)
    for (const shape of SHAPES) expect(CANDIDATES[shape].map(({ name }) => name)).toContain(tuning[shape])
    expect(seen).toEqual([...seen].sort((a, b) => a - b))
    expect(seen.at(-1)).toBe(SHAPES.flatMap((shape) => CANDIDATES[shape]).length)
    expect(readTuning(JSON.parse(JSON.stringify(tuning)))).toEqual(tuning)
    for (const wrong of [null, 7, {}, { ...tuning, thin: 'wide' }, { ...tuning, row: undefined }])
      expect(readTuning(wrong)).toBeNull()
  })

  /** What is kept where, and what was written there. */
  function storeOf(...answers: unknown[]): TuningStore & { written: [string, unknown][] } {
    const written: [string, unknown][] = []
    const get = async (key: string): Promise<unknown> =>
      written.find(([other]) => other === key)?.[1] ?? (answers.length > 1 ? answers.shift() : answers[0])
    return { written, get, set: async (key, tuning) => void written.push([key, tuning]) }
  }
  const lasts = Object.fromEntries(SHAPES.map((shape) => [shape, CANDIDATES[shape].at(-1)!.name]))
  const thin = (): string => candidateFor({ m: 16, n: 576, k: 512 }).name

  test.skipIf(!onWebGPU())('goes by what was kept, and not by what is no tuning', async () => {
    const known = storeOf(lasts)
    await tuneOnce(known, { force: true })
    expect([thin(), known.written]).toEqual([lasts.thin, []])
    const broken = storeOf({ ...lasts, large: 'nothing of the kind' })
    await tuneOnce(broken)
    expect([thin(), broken.written]).toEqual([CANDIDATES.thin[0]!.name, []])
    await takeUpTuning(known)
    expect(thin()).toBe(lasts.thin)
    await takeUpTuning(broken)
    expect(thin()).toBe(CANDIDATES.thin[0]!.name)
  })

  test.skipIf(!onWebGPU())('is kept once, by whoever was first', async () => {
    const empty = storeOf(undefined)
    await tuneOnce(empty, { force: true, budget: 0 })
    expect(empty.written).toEqual([[tuningKey(), expect.objectContaining({ thin: CANDIDATES.thin[0]!.name })]])
    const overtaken = storeOf(undefined, lasts)
    await tuneOnce(overtaken, { force: true, budget: 0 })
    expect([thin(), overtaken.written]).toEqual([lasts.thin, []])
    await takeUpTuning(storeOf(undefined))
  })

  test.skipIf(!onWebGPU())('ends when it is told to', async () => {
    const before = tf.memory().numTensors
    const signal = AbortSignal.abort(new Error('enough'))
    await expect(tuneProducts({ force: true, shapes: ['thin'], signal })).rejects.toThrow('enough')
    expect(tf.memory().numTensors).toBe(before)
  })
})
