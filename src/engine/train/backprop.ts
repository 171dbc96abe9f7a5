/**
 * Loss and adapter gradients, layer by layer: forward keeps each layer's input and nothing else; backward computes one layer
 * again under the tape, pulls the gradient through and frees everything. Refuses to put more than one layer on the tape.
 */
import type { Adapter } from '../adapters/lora'
import type { Network, Pass } from '../nn/network'
import { takeRows } from '../nn/rows'
import { crossEntropyWithGrad, evenNoise } from '../ops'
import { tf } from '../tf'
import type { Batch, DeviceBatch } from './batch'
import { uploadBatch } from './batch'
import { pullback } from './pullback'

/** Gradients in the order of `adapter.variables`, and the sum of token losses `[]`; all owned by the caller. */
export interface BatchGradients {
  readonly lossSum: tf.Scalar
  readonly gradients: tf.Tensor[]
}

/** How a walk through the layers finds its adapter. */
export function trainingPass(adapter: Adapter | null, batch: Batch, on: DeviceBatch, dropoutSeed?: number): Pass {
  return {
    batch: batch.rows,
    seq: batch.seq,
    past: 0,
    lora: adapter && ((module) => adapter.pair(module, dropoutSeed)),
    caches: null,
    packed: on.packed,
  }
}

/** What the head sees: the last norm of the looked-at positions only, `[slots, hidden]`. */
export function lookedAt(network: Network, x: tf.Tensor2D, on: DeviceBatch): tf.Tensor2D {
  return network.finish(takeRows(x, on.positions, false))
}

/** How a training step differs from a plain one, beside its adapter. */
export interface Regularisation {
  /** Share of each label that is spread over the whole vocabulary. */
  readonly labelSmoothing: number
  /** NEFTune's alpha; 0 adds no noise. */
  readonly neftune: number
}

/** Salt that tells the noise from dropout masks, which count from 0. */
const NOISE = 0x6e656674

/**
 * NEFTune (Jain et al. 2023): embedded tokens plus even noise within ± alpha / √(length · hidden), the length being that of the longest
 * row, as in transformers. Takes the states over.
 */
function shaken(x: tf.Tensor2D, batch: Batch, alpha: number, seed: number): tf.Tensor2D {
  const most = alpha / Math.sqrt(batch.longest * x.shape[1])
  const noisy = tf.tidy(() => tf.add(x, tf.mul(tf.tensor2d(evenNoise(x.size, seed, NOISE), x.shape), most)) as tf.Tensor2D) // prettier-ignore
  x.dispose()
  return noisy
}

/** The layers' inputs `[rows · seq, hidden]` in order, and after them the last layer's output. */
export function forward(
  network: Network,
  on: DeviceBatch,
  pass: Pass,
  shake: (embedded: tf.Tensor2D) => tf.Tensor2D = (embedded) => embedded,
): tf.Tensor2D[] {
  const states = [shake(tf.tidy(() => network.embed(on.ids, pass)))]
  for (let i = 0; i < network.layers; i++) {
    const x = states[i] as tf.Tensor2D
    states.push(tf.tidy(() => network.layer(i, x, pass)))
  }
  return states
}

/**
 * The gradient of `scale · sum of token losses` for every adapter tensor.
 * Memory: one hidden state a layer, and the activations of one layer.
 */
export function backprop(
  network: Network,
  adapter: Adapter,
  batch: Batch,
  scale: number,
  seed: number,
  { labelSmoothing, neftune }: Regularisation = { labelSmoothing: 0, neftune: 0 },
): BatchGradients {
  const on = uploadBatch(batch)
  const pass = trainingPass(adapter, batch, on, seed)
  const states = forward(network, on, pass, (x) => (neftune > 0 ? shaken(x, batch, neftune, seed) : x))
  const last = states.pop() as tf.Tensor2D
  const { lossSum, dy: fromHead } = headGradient(network, last, on, scale, labelSmoothing)
  let dy = fromHead
  last.dispose()
  const gradients = new Array<tf.Tensor>(adapter.variables.length)
  for (let i = network.layers - 1; i >= 0; i--) {
    const x = states.pop() as tf.Tensor2D
    const indices = adapter.indicesOf(i)
    const pulled = pullThrough(network, i, x, dy, pass, indices.map((at) => adapter.variables[at]!.variable), i > 0) // prettier-ignore
    x.dispose()
    dy.dispose()
    indices.forEach((at, n) => {
      gradients[at] = pulled.gradients[n] as tf.Tensor
    })
    if (i > 0) dy = pulled.dx as tf.Tensor2D
  }
  on.dispose()
  return { lossSum, gradients }
}

/** Loss at the head and its gradient with respect to the last layer's output `[rows · seq, hidden]`. */
function headGradient(
  network: Network,
  x: tf.Tensor2D,
  on: DeviceBatch,
  scale: number,
  smoothing: number,
): { lossSum: tf.Scalar; dy: tf.Tensor2D } {
  return tf.tidy(() => {
    const chosen = takeRows(x, on.positions, false)
    const { loss, dHidden } = crossEntropyWithGrad(
      network.finish(chosen),
      network.head,
      on.targets,
      scale,
      network.logitCap,
      smoothing,
    )
    const [dChosen] = pullback(() => network.finish(chosen), [chosen], dHidden)
    // Each position has one place at most, so scattering is gathering, with zeros where there is none.
    const dy = takeRows(dChosen as tf.Tensor2D, on.places, true)
    return { lossSum: tf.sum(loss) as tf.Scalar, dy }
  })
}

/** The vector-Jacobian product of one layer. */
function pullThrough(
  network: Network,
  index: number,
  x: tf.Tensor2D,
  dy: tf.Tensor2D,
  pass: Pass,
  variables: readonly tf.Variable[],
  needsInput: boolean,
): { dx: tf.Tensor2D | null; gradients: tf.Tensor[] } {
  const wanted: tf.Tensor[] = needsInput ? [x, ...variables] : [...variables]
  if (wanted.length === 0) return { dx: null, gradients: [] }
  const grads = pullback(() => network.layer(index, x, pass), wanted, dy)
  return needsInput ? { dx: grads[0] as tf.Tensor2D, gradients: grads.slice(1) } : { dx: null, gradients: grads }
}
