/** Gradients of one batch as a list, for suites that look at them; refuses to replay. */
import type { Trainable, Model } from '../../src/engine'
import type { Arithmetic } from '../../src/engine/ops/arithmetic'
import { Recorder } from '../../src/engine/ops/replay'
import { tf } from '../../src/engine/tf'
import { backprop } from '../../src/engine/train/backprop'
import { uploadBatch, type Batch } from '../../src/engine/train/batch'

/** Sum of token losses and, in the order of `adapter.variables`, the gradient of `scale` times it; all owned by the caller. */
export function gradientsOf(
  { network }: Model,
  adapter: Trainable,
  batch: Batch,
  scale: number,
  dropoutSeed: number,
  spare = 0,
  arithmetic: Arithmetic = 'f32',
): { lossSum: tf.Scalar; gradients: tf.Tensor[] } {
  const recorder = new Recorder({ enabled: false })
  const gradients = new Array<tf.Tensor>(adapter.variables.length)
  const work = {
    ...{ batch, on: uploadBatch(batch, recorder), scale, arithmetic, dropoutSeed },
    ...{ noise: null, labelSmoothing: 0, spare },
  }
  const lossSum = backprop(network, adapter, work, (indices, taken) => {
    indices.forEach((index, n) => {
      const [former, gradient] = [gradients[index], taken[n] as tf.Tensor]
      gradients[index] = former ? tf.add(former, gradient) : gradient
      if (former) tf.dispose([former, gradient])
    })
  })
  recorder.dispose()
  return { lossSum, gradients }
}
