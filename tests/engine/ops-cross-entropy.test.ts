/** Cross-entropy against naive compositions, finite differences and its own plain form. */
import { describe, expect, test } from 'vitest'
import { crossEntropy, crossEntropyWithGrad, FrozenMatrix, logits } from '../../src/engine/ops'
import { chunk, crossEntropyReference, crossEntropyWithGradReference } from '../../src/engine/ops/cross-entropy'
import { tf } from '../../src/engine/tf'
import { expectClose, onWebGPU, random, values } from '../support/backends'

const SHAPES: { n: number; d: number; vocabulary: number; softcap?: number }[] = [
  { n: 1, d: 3, vocabulary: 2 },
  { n: 5, d: 7, vocabulary: 11 },
  { n: 13, d: 16, vocabulary: 64 },
  { n: 37, d: 20, vocabulary: 301 },
  { n: 70, d: 32, vocabulary: 515 },
  { n: 9, d: 8, vocabulary: 33, softcap: 3 },
]

function labelsOf(n: number, vocabulary: number): number[] {
  return Array.from({ length: n }, (_, i) => (i % 3 === 2 ? -100 : (i * 7 + 1) % vocabulary))
}

describe.each(SHAPES)(
  'cross-entropy of $n rows of $d over $vocabulary tokens, softcap $softcap',
  ({ n, d, vocabulary, softcap }) => {
    const list = labelsOf(n, vocabulary)
    const setUp = (): { hidden: tf.Tensor2D; head: FrozenMatrix; plain: tf.Tensor2D; labels: tf.Tensor1D } => ({
      hidden: random<tf.Rank.R2>([n, d], 1, 2),
      head: FrozenMatrix.from(values(vocabulary * d, 2), vocabulary, d),
      plain: tf.tensor2d(values(vocabulary * d, 2), [vocabulary, d]),
      labels: tf.tensor1d(list, 'int32'),
    })
    const naive = (hidden: tf.Tensor, plain: tf.Tensor2D): tf.Tensor => {
      const picks = tf.tensor2d(
        list.map((label) => Array.from({ length: vocabulary }, (_, v) => (v === label ? -1 : 0))),
      )
      const raw = tf.matMul(hidden as tf.Tensor2D, plain, false, true)
      const bent = softcap === undefined ? raw : tf.mul(tf.tanh(tf.div(raw, softcap)), softcap)
      return tf.sum(tf.mul(tf.logSoftmax(bent), picks), 1)
    }

    test('loss and hits', async () => {
      const { hidden, head, plain, labels } = setUp()
      const { loss, correct } = crossEntropy(hidden, head, labels, softcap)
      await expectClose(loss, naive(hidden, plain), 1e-5, 'loss')
      const scores = tf.logSoftmax(logits(hidden, head, softcap))
      const own = (await scores.array()).map((row, i) => (list[i]! < 0 ? 0 : -row[list[i]!]!))
      await expectClose(loss, tf.tensor1d(own), 1e-5, 'logits')
      const best = await tf.argMax(tf.matMul(hidden, plain, false, true), 1).data()
      expect(Array.from(await correct.data())).toEqual(list.map((label, i) => (best[i] === label ? 1 : 0)))
      const reference = crossEntropyReference(hidden, head, labels, softcap)
      await expectClose(loss, reference.loss, 1e-5, 'plain form')
      await expectClose(correct, reference.correct, 0, 'plain form')
    })

    test('gradient of scale · sum', async () => {
      const { hidden, head, plain, labels } = setUp()
      const { loss, dHidden } = crossEntropyWithGrad(hidden, head, labels, 0.25, softcap)
      await expectClose(loss, naive(hidden, plain), 1e-5, 'loss')
      const wanted = tf.grad((h) => tf.mul(tf.sum(naive(h, plain)), 0.25))(hidden)
      await expectClose(dHidden, wanted, 1e-5, 'naive')
      const onDevice = crossEntropyWithGrad(hidden, head, labels, tf.scalar(0.25), softcap)
      await expectClose(onDevice.dHidden, wanted, 1e-5, 'scale on the device')
      const reference = crossEntropyWithGradReference(hidden, head, labels, 0.25, softcap)
      await expectClose(dHidden, reference.dHidden, 1e-5, 'plain form')
    })
  },
)

test('many chunks give what one gives', async () => {
  const [n, d, vocabulary] = [23, 6, 40]
  const head = FrozenMatrix.from(values(vocabulary * d, 2), vocabulary, d)
  const hidden = random<tf.Rank.R2>([n, d], 1, 2)
  const labels = tf.tensor1d(labelsOf(n, vocabulary), 'int32')
  const run = (): tf.Tensor[] => {
    const { loss, dHidden } = crossEntropyWithGrad(hidden, head, labels, 0.5)
    const forward = crossEntropy(hidden, head, labels)
    return [loss, dHidden, forward.loss, forward.correct]
  }
  const whole = run()
  const { elements } = chunk
  chunk.elements = 5 * vocabulary
  const parts = run()
  chunk.elements = elements
  for (const [i, part] of parts.entries()) await expectClose(part, whole[i]!, 1e-6, `output ${i}`)
})

test('a certain and a hopeless label keep finite losses', async () => {
  const head = FrozenMatrix.from(new Float32Array([100, -100, 0]), 3, 1)
  const { loss } = crossEntropy(tf.tensor2d([[2], [2], [2]]), head, tf.tensor1d([0, 1, 2], 'int32'))
  await expectClose(loss, tf.tensor1d([0, 400, 200]), 1e-6)
})

test.skipIf(onWebGPU())('finite differences confirm the gradient', async () => {
  const [n, d, vocabulary] = [3, 4, 6]
  const head = FrozenMatrix.from(values(vocabulary * d, 2), vocabulary, d)
  const labels = tf.tensor1d([1, -100, 5], 'int32')
  const base = values(n * d, 1, 2)
  const total = async (h: Float32Array): Promise<number> => {
    const { loss } = crossEntropy(tf.tensor2d(h, [n, d]), head, labels)
    return Array.from(await loss.data()).reduce((a, b) => a + b, 0)
  }
  const wanted = new Float32Array(base.length)
  for (let i = 0; i < base.length; i++) {
    const shifted = (by: number): Float32Array => base.map((value, j) => (j === i ? value + by : value))
    wanted[i] = ((await total(shifted(1e-2))) - (await total(shifted(-1e-2)))) / 2e-2
  }
  const { dHidden } = crossEntropyWithGrad(tf.tensor2d(base, [n, d]), head, labels, 1)
  await expectClose(dHidden, tf.tensor2d(wanted, [n, d]), 1e-3)
})

test.skipIf(onWebGPU())('never holds more than one chunk of logits', () => {
  const [n, d, vocabulary] = [600, 2, 50_000]
  const head = FrozenMatrix.from(values(vocabulary * d, 2), vocabulary, d)
  head.forward(tf.zeros([1, d])).dispose()
  const hidden = random<tf.Rank.R2>([n, d], 1)
  const labels = tf.tensor1d(labelsOf(n, vocabulary), 'int32')
  const before = tf.memory().numBytes
  tf.engine().startScope()
  const result = crossEntropyWithGrad(hidden, head, labels, 1)
  const after = tf.memory().numBytes - before
  expect(after).toBeLessThan(n * d * 4 + n * 4 + 1000)
  tf.dispose([result.loss, result.dHidden])
  tf.engine().endScope()
})
