/** AdamW, sum of squares and clipping against PyTorch's formulas in f64, and against their own plain forms. */
import { describe, expect, test } from 'vitest'
import { adamwUpdates, changingNumbers, clipFactor, sumSquares, type AdamMove } from '../../src/engine/ops'
import { adamwUpdateReference } from '../../src/engine/ops/adamw'
import { flatParts, flatsOf, readParts, type FlatPart } from '../../src/engine/ops/flat'
import { storeParts } from '../../src/engine/ops/store'
import { tf } from '../../src/engine/tf'
import { expectClose, random, values } from '../support/backends'

const SETTINGS = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
const [RATE, WEIGHT_DECAY, CLIP] = [0.01, 0.1, 0.5]

/** torch.optim.AdamW's single-tensor path in f64. */
function torch(p: number[], grads: Float32Array[], lr: number): number[] {
  const { beta1, beta2, epsilon } = SETTINGS
  const m = p.map(() => 0)
  const v = p.map(() => 0)
  let now = [...p]
  grads.forEach((grad, index) => {
    const step = index + 1
    now = now.map((value, i) => {
      const g = grad[i]! * CLIP
      m[i] = beta1 * m[i]! + (1 - beta1) * g
      v[i] = beta2 * v[i]! + (1 - beta2) * g * g
      const root = Math.sqrt(v[i]!) / Math.sqrt(1 - beta2 ** step) + epsilon
      return value * (1 - lr * WEIGHT_DECAY) - ((lr / (1 - beta1 ** step)) * m[i]!) / root
    })
  })
  return now
}

// More tensors than one dispatch binds, of sizes that fill no workgroup.
const SIZES = [1, 15, 391, 256, 64, 3, 257, 4, 7, 1000, 2, 5, 6, 8, 9, 10]
const STEPS = 3
const starts = SIZES.map((size, i) => values(size, i))
const gradients = SIZES.map((size, i) => Array.from({ length: STEPS }, (_, step) => values(size, 100 * step + i)))

/** Parameters and moments after all steps, the moments' first and then the others. */
function train(): { params: tf.Variable[]; m: FlatPart[]; v: FlatPart[]; dispose: () => void } {
  const params = starts.map((start) => tf.tidy(() => tf.variable(tf.tensor1d(start), false)))
  const [m, v, g] = [flatParts(SIZES), flatParts(SIZES), flatParts(SIZES)]
  for (let index = 0; index < STEPS; index++) {
    tf.tidy(() =>
      storeParts(g.map((target, i) => ({ target, source: tf.tensor1d(gradients[i]![index]!), add: false }))),
    )
    // The last began two steps later.
    const moves = params.map((param, i): AdamMove => {
      const step = index + 1 - (i === SIZES.length - 1 ? 2 : 0)
      return { param, gradient: g[i]!, m: m[i]!, v: v[i]!, weightDecay: WEIGHT_DECAY, learningRate: RATE * (1 + i), step }
    }).filter(({ step }) => step > 0) // prettier-ignore
    const numbers = tf.tensor1d(changingNumbers(moves, CLIP))
    adamwUpdates(moves, SETTINGS, CLIP, numbers)
    numbers.dispose()
  }
  return { params, m, v, dispose: () => tf.dispose([...params, ...flatsOf([...m, ...v, ...g])]) }
}

describe('adamw of many tensors', () => {
  test('three steps are PyTorch’s, each tensor at its own rate and count', async () => {
    const { params, dispose } = train()
    for (const [i, param] of params.entries()) {
      const own = i === SIZES.length - 1 ? gradients[i]!.slice(2) : gradients[i]!
      await expectClose(param, tf.tensor1d(torch([...starts[i]!], own, RATE * (1 + i))), 2e-6)
    }
    dispose()
  })

  test('moments are the plain form’s, and lie in their own parts', async () => {
    const { m, v, dispose } = train()
    const [firsts, seconds] = [await readParts(m), await readParts(v)]
    for (const [i, size] of SIZES.slice(0, -1).entries()) {
      const [param, first, second] = [starts[i]!, 0, 0].map((start) =>
        tf.tidy(() => tf.variable(start === 0 ? tf.fill([size], 0) : tf.tensor1d(start as Float32Array), false)),
      ) as [tf.Variable, tf.Variable, tf.Variable]
      gradients[i]!.forEach((gradient, index) => {
        const hyper = { ...SETTINGS, weightDecay: WEIGHT_DECAY, learningRate: RATE * (1 + i), step: index + 1, clip: CLIP }
        tf.tidy(() => adamwUpdateReference(param, tf.tensor1d(gradient), first, second, hyper))
      }) // prettier-ignore
      await expectClose(first, tf.tensor1d(firsts[i]!), 1e-6)
      await expectClose(second, tf.tensor1d(seconds[i]!), 1e-6)
      tf.dispose([param, first, second])
    }
    dispose()
  })

  test('leaves no tensor behind', () => {
    const before = tf.memory().numTensors
    train().dispose()
    expect(tf.memory().numTensors).toBe(before)
  })
})

test('tensors share buffers up to a size, and a larger one has its own', () => {
  const parts = flatParts([3, 5, 2 ** 22 + 1, 4])
  expect(parts.map(({ at }) => at)).toEqual([0, 4, 0, 0])
  expect(flatsOf(parts).map(({ size }) => size)).toEqual([12, 2 ** 22 + 4, 4])
  tf.dispose(flatsOf(parts))
})

test('stores of many tensors overwrite and add where they should', async () => {
  const parts = flatParts(SIZES)
  const put = (seed: number, add: boolean): void =>
    tf.tidy(() => storeParts(parts.map((target, i) => ({ target, source: tf.tensor1d(values(SIZES[i]!, seed + i)), add })))) // prettier-ignore
  put(500, false)
  put(600, false)
  put(700, true)
  for (const [i, found] of (await readParts(parts)).entries()) {
    const [kept, added] = [values(SIZES[i]!, 600 + i), values(SIZES[i]!, 700 + i)]
    expect(found).toEqual(kept.map((value, n) => value + added[n]!))
  }
  const long = tf.tensor1d([1, 2])
  expect(() => storeParts([{ target: parts[0]!, source: long, add: false }])).toThrow('2 values for 1')
  long.dispose()
  tf.dispose(flatsOf(parts))
})

test('sum of squares over many gradients, and torch’s clip factor', async () => {
  const shapes: [number, number][] = [[1, 1], [3, 1], [1, 4], [257, 1], [10, 100], [271, 259], [2, 1], [8, 1], [16, 1]] // prettier-ignore
  const sizes = shapes.map(([rows, columns]) => rows * columns)
  const grads = shapes.map((shape, i) => random<tf.Rank.R2>(shape, i + 1))
  const wanted = sizes.reduce((sum, size, i) => sum + values(size, i + 1).reduce((a, b) => a + b * b, 0), 0)
  const sum = sumSquares(grads)
  expect(Math.abs((await sum.data())[0]! / wanted - 1)).toBeLessThan(1e-5)
  expect((await clipFactor(sum, 1).data())[0]).toBeCloseTo(1 / (Math.sqrt(wanted) + 1e-6), 7)
  expect((await clipFactor(sum, 1e9).data())[0]).toBe(1)
})
