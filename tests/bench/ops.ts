/** The fused ops, forward and backward, against the plain TensorFlow.js forms that they are tested against. Refuses products alone: see gemm.ts. */
import { FrozenMatrix, linear } from '../../src/engine/ops'
import { crossEntropyWithGrad, crossEntropyWithGradReference } from '../../src/engine/ops/cross-entropy'
import { linearReference } from '../../src/engine/ops/linear'
import { rmsNorm, rmsNormReference } from '../../src/engine/ops/norm'
import { tf } from '../../src/engine/tf'
import { ownRival, race } from './measure'
import { RANK, seeded } from './shapes'

export interface OpRow {
  name: string
  /** Median ms. */
  ms: { finetab: number; plain: number }
}

const tensor = (shape: number[], seed: number): tf.Tensor =>
  tf.keep(tf.tensor(seeded(shape.reduce((a, b) => a * b, 1), seed, 1), shape)) // prettier-ignore

const gradient = (op: (...x: tf.Tensor[]) => tf.Tensor, inputs: tf.Tensor[]) => () =>
  tf.grads((...x: tf.Tensor[]) => tf.sum(op(...x)))(inputs)

/** On a model of width 192 and 4,096 tokens; `large` takes SmolLM2's. */
export async function benchOps(large: boolean): Promise<OpRow[]> {
  const [rows, d, f, vocabulary] = large ? [512, 576, 1536, 49152] : [256, 192, 512, 4096]
  const x = tensor([rows, d], 1)
  const [a, b] = [tensor([RANK, d], 2), tensor([f, RANK], 3)]
  const weight = tensor([d], 4) as tf.Tensor1D
  const w = FrozenMatrix.from(seeded(f * d, 5, 1), f, d)
  const head = FrozenMatrix.from(seeded(vocabulary * d, 6, 0.1), vocabulary, d)
  const labels = tf.tensor1d(Int32Array.from({ length: rows }, (_, i) => (i * 31) % vocabulary))
  const lora = (op: typeof linear) => (x: tf.Tensor, a: tf.Tensor, b: tf.Tensor) =>
    op(x as tf.Tensor2D, w, null, { a: a as tf.Tensor2D, b: b as tf.Tensor2D, scale: 2 })
  const norm = (op: typeof rmsNorm) => (x: tf.Tensor) => op(x as tf.Tensor2D, weight, 1e-5)
  const results: OpRow[] = []
  const compare = async (name: string, own: () => tf.Tensor | tf.Tensor[], plain: typeof own): Promise<void> => {
    const ms = await race([ownRival('finetab', own), ownRival('plain', plain)], { turns: 3, most: 8 })
    results.push({ name, ms: ms as OpRow['ms'] })
  }
  await compare(
    `x·Wᵀ with a low-rank part and back, ${rows} x ${d} x ${f}`,
    gradient(lora(linear) as () => tf.Tensor, [x, a, b]),
    gradient(lora(linearReference) as () => tf.Tensor, [x, a, b]),
  )
  await compare(
    `RMSNorm and back, ${rows} x ${d}`,
    gradient(norm(rmsNorm) as () => tf.Tensor, [x]),
    gradient(norm(rmsNormReference) as () => tf.Tensor, [x]),
  )
  await compare(
    `cross-entropy and back, ${rows} x ${d} x ${vocabulary}`,
    () => crossEntropyWithGrad(x as tf.Tensor2D, head, labels, 1).dHidden,
    () => crossEntropyWithGradReference(x as tf.Tensor2D, head, labels, 1).dHidden,
  )
  w.dispose()
  head.dispose()
  tf.dispose([x, a, b, weight, labels])
  return results
}
