/** SwiGLU, GELU and GEGLU against golden numbers, naive compositions, finite differences and their own plain forms. */
import { describe, test } from 'vitest'
import { geglu, gelu, swiglu } from '../../src/engine/ops'
import { gegluReference, geluReference, swigluReference } from '../../src/engine/ops/activation'
import { tf } from '../../src/engine/tf'
import { expectClose, expectFiniteDifference, onWebGPU, random, tapeGradients } from '../support/backends'

type Op = (...inputs: tf.Tensor[]) => tf.Tensor
const two = (op: (x: tf.Tensor2D, y: tf.Tensor2D) => tf.Tensor2D): Op => {
  return (x, y) => op(x as tf.Tensor2D, y as tf.Tensor2D)
}
const one = (op: (x: tf.Tensor2D) => tf.Tensor2D): Op => {
  return (x) => op(x as tf.Tensor2D)
}

const OPS: Record<string, { inputs: number; own: Op; plain: Op }> = {
  swiglu: { inputs: 2, own: two(swiglu), plain: two(swigluReference) },
  'gelu exact': { inputs: 1, own: one((x) => gelu(x, 'exact')), plain: one((x) => geluReference(x, 'exact')) },
  'gelu tanh': { inputs: 1, own: one((x) => gelu(x, 'tanh')), plain: one((x) => geluReference(x, 'tanh')) },
  'geglu exact': {
    inputs: 2,
    own: two((x, y) => geglu(x, y, 'exact')),
    plain: two((x, y) => gegluReference(x, y, 'exact')),
  },
  'geglu tanh': {
    inputs: 2,
    own: two((x, y) => geglu(x, y, 'tanh')),
    plain: two((x, y) => gegluReference(x, y, 'tanh')),
  },
}

describe.each(Object.keys(OPS))('%s', (name) => {
  const { inputs: count, own, plain } = OPS[name]!

  test.each([
    [1, 1],
    [3, 7],
    [5, 130],
  ])('is the same as its plain form on %i by %i, gradients too', async (n, d) => {
    const inputs = Array.from({ length: count }, (_, i) => random<tf.Rank.R2>([n, d], 10 + i, 4))
    await expectClose(own(...inputs), plain(...inputs))
    const [a, b] = [tapeGradients(own, inputs), tapeGradients(plain, inputs)]
    for (const [i, gradient] of a.entries()) await expectClose(gradient, b[i]!, 1e-5, `input ${i}`)
  })

  test.skipIf(onWebGPU())('has gradients that finite differences confirm', async () => {
    const inputs = Array.from({ length: count }, (_, i) => random<tf.Rank.R2>([2, 5], 20 + i, 2))
    await expectFiniteDifference(own, inputs)
  })

  test('stays finite far from zero', async () => {
    const inputs = Array.from({ length: count }, () => tf.tensor2d([[-60, -20, 20, 60]]))
    const wanted = count === 2 ? [[0, 0, 400, 3600]] : [[0, 0, 20, 60]]
    await expectClose(own(...inputs), tf.tensor2d(wanted), 1e-6)
    for (const gradient of tapeGradients(own, inputs))
      await expectClose(tf.isFinite(gradient).cast('float32'), tf.ones([1, 4]), 0)
  })
})

test('golden values of torch.nn.functional', async () => {
  const x = tf.tensor2d([[-3, -1, -0.5, 0, 0.5, 1, 3]])
  const exact = [[-0.00404969, -0.15865525, -0.15426877, 0, 0.34573123, 0.84134475, 2.9959502]]
  const tanh = [[-0.00363752, -0.15880796, -0.154286, 0, 0.345714, 0.841192, 2.9963627]]
  const silu = [[-0.14227763, -0.26894143, -0.18877034, 0, 0.31122968, 0.7310586, 2.8577223]]
  await expectClose(gelu(x, 'exact'), tf.tensor2d(exact), 1e-6)
  await expectClose(gelu(x, 'tanh'), tf.tensor2d(tanh), 1e-6)
  await expectClose(swiglu(x, tf.onesLike(x)), tf.tensor2d(silu), 1e-6)
})
