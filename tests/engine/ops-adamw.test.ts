/** AdamW, sum of squares and clipping against PyTorch's formulas in f64, and against their own plain forms. */
import { describe, expect, test } from 'vitest'
import { adamwUpdate, clipFactor, sumSquares, type AdamHyper } from '../../src/engine/ops'
import { adamwUpdateReference } from '../../src/engine/ops/adamw'
import { tf } from '../../src/engine/tf'
import { expectClose, random, values } from '../support/backends'

const HYPER: Omit<AdamHyper, 'step'> = {
  learningRate: 0.01,
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0.1,
  clip: 0.5,
}

/** torch.optim.AdamW's single-tensor path in f64. */
function torch(p: number[], grads: Float32Array[]): number[] {
  const { learningRate: lr, beta1, beta2, epsilon, weightDecay, clip } = HYPER as Record<keyof typeof HYPER, number>
  const m = p.map(() => 0)
  const v = p.map(() => 0)
  let now = [...p]
  grads.forEach((grad, index) => {
    const step = index + 1
    now = now.map((value, i) => {
      const g = grad[i]! * clip
      m[i] = beta1 * m[i]! + (1 - beta1) * g
      v[i] = beta2 * v[i]! + (1 - beta2) * g * g
      const root = Math.sqrt(v[i]!) / Math.sqrt(1 - beta2 ** step) + epsilon
      return value * (1 - lr * weightDecay) - ((lr / (1 - beta1 ** step)) * m[i]!) / root
    })
  })
  return now
}

const SHAPES: [number, number][] = [
  [1, 1],
  [3, 5],
  [17, 23],
]

describe.each(SHAPES)('adamw of %i by %i', (rows, columns) => {
  const count = rows * columns
  const grads = [values(count, 2), values(count, 3), values(count, 4)]
  const start = values(count, 1)

  async function train(onDevice: boolean, update: typeof adamwUpdate): Promise<tf.Variable[]> {
    const param = tf.variable(tf.tensor2d(start, [rows, columns]))
    const [m, v] = [tf.variable(tf.fill([rows, columns], 0)), tf.variable(tf.fill([rows, columns], 0))]
    grads.forEach((grad, index) => {
      const step = index + 1
      const hyper: AdamHyper = onDevice
        ? { ...HYPER, step: tf.scalar(step), learningRate: tf.scalar(0.01), clip: tf.scalar(0.5) }
        : { ...HYPER, step }
      update(param, tf.tensor2d(grad, [rows, columns]), m, v, hyper)
    })
    return [param, m, v]
  }

  test.each([false, true])('three steps are PyTorch’s, values on the device: %s', async (onDevice) => {
    const [param] = await train(onDevice, adamwUpdate)
    await expectClose(param!, tf.tensor2d(torch([...start], grads), [rows, columns]), 1e-6)
  })

  test('state is the plain form’s', async () => {
    const [own, plain] = [await train(true, adamwUpdate), await train(true, adamwUpdateReference)]
    for (const [i, tensor] of own.entries()) await expectClose(tensor, plain[i]!, 1e-6)
  })
})

test('an update leaves no tensor behind', () => {
  const [param, m, v] = [1, 2, 3].map((seed) => tf.variable(tf.abs(random<tf.Rank.R1>([7], seed)))) as tf.Variable[]
  const grad = random<tf.Rank.R1>([7], 4)
  const before = tf.memory().numTensors
  adamwUpdate(param!, grad, m!, v!, { ...HYPER, step: 1 })
  expect(tf.memory().numTensors).toBe(before)
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
