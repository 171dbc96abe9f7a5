/** RMSNorm and LayerNorm against naive compositions, finite differences and their own plain forms. */
import { describe, test } from 'vitest'
import { layerNorm, rmsNorm } from '../../src/engine/ops'
import { layerNormReference, rmsNormReference } from '../../src/engine/ops/norm'
import { tf } from '../../src/engine/tf'
import { expectClose, expectFiniteDifference, onWebGPU, random, tapeGradients } from '../support/backends'

/** Rows and width: one element, odd, one above a workgroup, a real model's. */
const SHAPES = [
  [1, 1],
  [3, 7],
  [5, 64],
  [2, 257],
  [6, 576],
] as const

type Norm = (x: tf.Tensor2D) => tf.Tensor2D

function cases(d: number): { name: string; own: Norm; plain: Norm; naive: Norm }[] {
  const weight = random<tf.Rank.R1>([d], 5)
  const bias = random<tf.Rank.R1>([d], 6)
  const centred = (x: tf.Tensor2D): tf.Tensor => {
    const { mean, variance } = tf.moments(x, 1, true)
    return tf.div(tf.sub(x, mean), tf.sqrt(tf.add(variance, 1e-5)))
  }
  return [
    {
      name: 'rms',
      own: (x) => rmsNorm(x, weight, 1e-6),
      plain: (x) => rmsNormReference(x, weight, 1e-6),
      naive: (x) => tf.mul(tf.div(x, tf.sqrt(tf.add(tf.mean(tf.mul(x, x), 1, true), 1e-6))), weight),
    },
    {
      name: 'layer',
      own: (x) => layerNorm(x, weight, bias, 1e-5),
      plain: (x) => layerNormReference(x, weight, bias, 1e-5),
      naive: (x) => tf.add(tf.mul(centred(x), weight), bias),
    },
    {
      name: 'layer without bias',
      own: (x) => layerNorm(x, weight, null, 1e-5),
      plain: (x) => layerNormReference(x, weight, null, 1e-5),
      naive: (x) => tf.mul(centred(x), weight),
    },
  ]
}

describe.each(SHAPES)('norms of %i rows of %i', (n, d) => {
  test.each(cases(d).map(({ name }) => name))('%s', async (name) => {
    const { own, plain, naive } = cases(d).find((entry) => entry.name === name)!
    const x = random<tf.Rank.R2>([n, d], 7, 3)
    await expectClose(own(x), naive(x), 2e-5, 'naive')
    await expectClose(own(x), plain(x), 1e-5, 'plain form')
    const [gradient] = tapeGradients((x) => own(x as tf.Tensor2D), [x])
    await expectClose(gradient!, tapeGradients((x) => plain(x as tf.Tensor2D), [x])[0]!, 1e-5, 'plain gradient')
    if (d > 1) await expectClose(gradient!, tapeGradients((x) => naive(x as tf.Tensor2D), [x])[0]!, 5e-5, 'gradient')
  })
})

test.skipIf(onWebGPU())('finite differences confirm the gradients', async () => {
  for (const { own } of cases(6))
    await expectFiniteDifference((x) => own(x as tf.Tensor2D), [random<tf.Rank.R2>([2, 6], 3, 2)], { tolerance: 5e-3 })
})
