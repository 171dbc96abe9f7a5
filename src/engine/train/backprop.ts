/**
 * Loss and adapter gradients, layer by layer: forward keeps each layer's input and nothing else; backward computes one layer
 * again under the tape, pulls the gradient through and frees everything. Where there is memory to spare, each layer's tape is kept
 * instead, and nothing is computed twice. Refuses to put more than one layer on a tape.
 */
import { indicesOf, lowestLayer, type Place, type Trainable } from '../adapters/trainable'
import type { Network, Pass } from '../nn/network'
import { takeRows } from '../nn/rows'
import { crossEntropyWithGrad, evenNoise, type FrozenMatrix } from '../ops'
import { inArithmetic, type Arithmetic } from '../ops/arithmetic'
import { classLossWithGrad } from '../ops/class-loss'
import type { Recorder } from '../ops/replay'
import { store } from '../ops/store'
import { tf } from '../tf'
import type { Batch, DeviceBatch } from './batch'
import { bytesOf, discard, pull, pullback, taped, type Taped } from './pullback'

/** A micro-batch on the device, and what goes with it. What changes from step to step may lie there too. */
export interface Work {
  readonly batch: Batch
  readonly on: DeviceBatch
  /** Factor on the loss. */
  readonly scale: number | tf.Scalar
  /** What products are computed in. */
  readonly arithmetic: Arithmetic
  readonly dropoutSeed: number | tf.Scalar
  /** NEFTune's noise `[rows · seq, hidden]`; null for none. */
  readonly noise: tf.Tensor2D | null
  /** Share of each label that is spread over the whole vocabulary. */
  readonly labelSmoothing: number
  /** Bytes that tapes may take; with fewer than all layers need, layers are computed again. */
  readonly spare: number
}

/** Takes over gradients of the variables at `indices` of `adapter.variables`, as soon as they are there; a tied table's comes in two parts. */
export type GradientTaker = (indices: readonly number[], gradients: readonly tf.Tensor[]) => void

/** How a walk through the layers finds its adapter. */
export function trainingPass(
  adapter: Trainable | null,
  batch: Batch,
  on: DeviceBatch,
  dropoutSeed?: number | tf.Scalar,
): Pass {
  return {
    batch: batch.rows,
    seq: batch.seq,
    past: 0,
    overlay: adapter && adapter.overlay(dropoutSeed),
    caches: null,
    packed: on.packed,
    virtual: on.virtual,
  }
}

/** What the head sees: the last norm of the looked-at positions only, `[slots, hidden]`. */
export function lookedAt(network: Network, x: tf.Tensor2D, on: DeviceBatch, pass: Pass): tf.Tensor2D {
  return network.finish(takeRows(x, on.positions, false), pass)
}

/** Salt that tells the noise from dropout masks, which count from 0. */
const NOISE = 0x6e656674

/**
 * NEFTune (Jain et al. 2023): even noise within ± alpha / √(length · hidden) on every embedded token, the length being that of the
 * longest row, as in transformers. `[rows · seq · hidden]`.
 */
export function embeddingNoise(
  { rows, seq, longest, virtual }: Batch,
  hidden: number,
  alpha: number,
  seed: number,
): Float32Array {
  const most = alpha / Math.sqrt(longest * hidden)
  const noise = evenNoise(rows * seq * hidden, seed, NOISE).map((value) => value * most)
  // Virtual tokens get none: they are learnt, not read.
  for (const offset of virtual?.offsets ?? []) noise.fill(0, offset * hidden, (offset + (virtual?.count ?? 0)) * hidden)
  return noise
}

/** How a layer's output is made from its input. */
type Layer = (i: number, x: tf.Tensor2D) => tf.Tensor2D

/** The inputs `[rows · seq, hidden]` of the layers from `lowest` on, in order, and after them the last layer's output. */
export function forward(
  network: Network,
  { on, noise }: Pick<Work, 'on' | 'noise'>,
  pass: Pass,
  lowest: number,
  layer: Layer = (i, x) => tf.tidy(() => network.layer(i, x, pass)),
): tf.Tensor2D[] {
  const embedded = (): tf.Tensor2D => network.embed(on.ids, pass)
  let x = tf.tidy(() => (noise ? tf.add<tf.Tensor2D>(embedded(), noise) : embedded()))
  const states: tf.Tensor2D[] = []
  for (let i = 0; i < network.layers; i++) {
    const y = layer(i, x)
    if (i < lowest) x.dispose()
    else states.push(x)
    x = y
  }
  return [...states, x]
}

/**
 * The gradient of `scale · sum of token losses` for every adapter tensor, layer by layer from the last.
 * Memory: one hidden state a layer, and the activations of one layer.
 * @returns the sum of token losses `[]`, owned by the caller.
 */
export function backprop(network: Network, adapter: Trainable, work: Work, take: GradientTaker): tf.Scalar {
  return inArithmetic(work.arithmetic, () => backpropHere(network, adapter, work, take))
}

function backpropHere(network: Network, adapter: Trainable, work: Work, take: GradientTaker): tf.Scalar {
  const pass = trainingPass(adapter, work.batch, work.on, work.dropoutSeed)
  const { states, tapes } = forwardWithTapes(network, work, pass, lowestLayer(adapter, network.layers))
  const last = states.pop() as tf.Tensor2D
  const { lossSum, dy } = headGradient(network, adapter, last, { work, pass, take })
  last.dispose()
  backward(network, adapter, { states, tapes }, dy, { on: work.on, pass, take })
  return lossSum
}

/** Tells work in two parts apart; see {@link backpropWeighted}. */
interface Weighing {
  readonly recorder: Recorder
  /** As the recorder knows it: everything that makes a difference but values. */
  readonly key: string
  /** Token losses by slot → their weights. */
  weigh(losses: Float32Array): Float32Array
}

/**
 * As {@link backprop}, for losses that weigh each token by what all of them came to: the gradient of `scale · sum of weight · token loss`. Waits
 * for the device between forward and backward; both are recorded.
 */
export async function backpropWeighted(
  network: Network,
  adapter: Trainable,
  work: Omit<Work, 'labelSmoothing' | 'spare'>,
  { recorder, key, weigh }: Weighing,
  take: GradientTaker,
): Promise<void> {
  const { batch, on, scale, arithmetic } = work
  const pass = trainingPass(adapter, batch, on, work.dropoutSeed)
  const losses = recorder.put('token losses', new Float32Array(batch.slots))
  let weights: tf.Tensor1D | null = null
  let left: { states: tf.Tensor2D[]; chosen: tf.Tensor2D; dHidden: tf.Tensor2D } | null = null
  const first = (): void => {
    const states = forward(network, work, pass, lowestLayer(adapter, network.layers))
    const last = states.pop() as tf.Tensor2D
    const [chosen, dHidden] = tf.tidy(() => {
      const chosen = takeRows(last, on.positions, false)
      const head = crossEntropyWithGrad(
        network.finish(chosen, pass),
        network.head(pass),
        on.targets,
        scale,
        network.logitCap,
      )
      store(losses, head.loss)
      return [chosen, head.dHidden] as const
    })
    last.dispose()
    left = { states, chosen, dHidden }
  }
  const between = async (): Promise<void> => {
    weights = recorder.put('weights', weigh((await losses.data()) as Float32Array)) as tf.Tensor1D
  }
  const second = (): void => {
    const { states, chosen, dHidden } = left!
    const dy = tf.tidy(() => {
      const rowWeights = weights!
      const head = network.head(pass)
      if (head.trained) {
        // Its gradient needs the weights, which the losses told: the head is gone through once more.
        const finished = network.finish(chosen, pass)
        const { dHead } = crossEntropyWithGrad(finished, head, on.targets, scale, network.logitCap, 0, rowWeights)
        takeHead(adapter, head, dHead, take)
      }
      const weighted = tf.mul<tf.Tensor2D>(dHidden, tf.reshape(rowWeights, [batch.slots, 1]))
      return finishGradient(network, adapter, chosen, weighted, { on, pass, take })
    })
    tf.dispose([chosen, dHidden])
    left = null
    backward(network, adapter, { states, tapes: [] }, dy, { on, pass, take })
  }
  try {
    const parts = {
      first: () => inArithmetic(arithmetic, first),
      between,
      second: () => inArithmetic(arithmetic, second),
    }
    await inArithmetic(arithmetic, () => recorder.runParts(key, parts))
  } finally {
    if (left !== null) tf.dispose(left)
  }
}

/** What a walk backwards needs besides the model. */
interface Walk {
  readonly on: DeviceBatch
  readonly pass: Pass
  readonly take: GradientTaker
}

/**
 * Pulls the gradient of the last layer's output down to the lowest trained tensor; takes over the inputs of the layers from there on, their
 * tapes and the gradient.
 */
function backward(
  network: Network,
  adapter: Trainable,
  { states, tapes }: { states: tf.Tensor2D[]; tapes: Taped[] },
  fromHead: tf.Tensor2D,
  { on, pass, take }: Walk,
): void {
  const lowest = lowestLayer(adapter, network.layers)
  let dy = fromHead
  const pullPlace = (place: Place, tape: () => Taped, x: tf.Tensor2D | null): void => {
    const indices = indicesOf(adapter, place)
    const variables = indices.map((at) => adapter.variables[at]!.variable)
    const pulled = pullThrough(tape, x ? [...variables, x] : variables, dy)
    dy.dispose()
    take(indices, pulled.slice(0, variables.length))
    if (x) dy = pulled[variables.length] as tf.Tensor2D
  }
  for (let i = network.layers - 1; i >= Math.max(0, lowest); i--) {
    const x = states.pop() as tf.Tensor2D
    pullPlace(i, () => tapes[i] ?? taped(() => network.layer(i, x, pass)), i > lowest ? x : null)
    tapes.length = Math.min(tapes.length, i)
    x.dispose()
  }
  if (lowest < 0) pullPlace('embedding', () => taped(() => network.embed(on.ids, pass)), null)
  dy.dispose()
  tapes.forEach(discard)
  tf.dispose(states)
}

/** Hands over the gradient of a trained head; a tied one gets more from the embedding. */
function takeHead(adapter: Trainable, head: FrozenMatrix, dHead: tf.Tensor2D | undefined, take: GradientTaker): void {
  const at = adapter.variables.findIndex(({ variable }) => variable === head.trained)
  if (dHead && at >= 0) take([at], [tf.keep(dHead)])
}

/** Pulls the gradient of what the head takes `[slots, hidden]` through the last norm, to all positions. Call it inside tf.tidy. */
function finishGradient(
  network: Network,
  adapter: Trainable,
  chosen: tf.Tensor2D,
  dHidden: tf.Tensor2D,
  { on, pass, take }: Walk,
): tf.Tensor2D {
  const indices = indicesOf(adapter, 'finish')
  const variables = indices.map((at) => adapter.variables[at]!.variable)
  const [dChosen, ...gradients] = pullback(() => network.finish(chosen, pass), [chosen, ...variables], dHidden)
  take(indices, gradients.map((gradient) => tf.keep(gradient))) // prettier-ignore
  // Each position has one place at most, so scattering is gathering, with zeros where there is none.
  return takeRows(dChosen as tf.Tensor2D, on.places, true)
}

/** Loss at the head and its gradient with respect to the last layer's output `[rows · seq, hidden]`. */
function headGradient(
  network: Network,
  adapter: Trainable,
  x: tf.Tensor2D,
  { work, pass, take }: { work: Work; pass: Pass; take: GradientTaker },
): { lossSum: tf.Scalar; dy: tf.Tensor2D } {
  const { on, scale, labelSmoothing } = work
  return tf.tidy(() => {
    const chosen = takeRows(x, on.positions, false)
    if (pass.overlay?.score) {
      const { score } = pass.overlay
      const { loss, dHidden, dHead } = classLossWithGrad(network.finish(chosen, pass), score, on.targets, scale)
      for (const at of indicesOf(adapter, 'head')) take([at], [tf.keep(dHead)])
      const dy = finishGradient(network, adapter, chosen, dHidden, { on, pass, take })
      return { lossSum: tf.sum(loss) as tf.Scalar, dy }
    }
    const head = network.head(pass)
    const { loss, dHidden, dHead } = crossEntropyWithGrad(
      network.finish(chosen, pass),
      head,
      on.targets,
      scale,
      network.logitCap,
      labelSmoothing,
    )
    takeHead(adapter, head, dHead, take)
    const dy = finishGradient(network, adapter, chosen, dHidden, { on, pass, take })
    return { lossSum: tf.sum(loss) as tf.Scalar, dy }
  })
}

/** As {@link forward}, with the tape of every layer from `lowest` on, or with none where they would take more than there is to spare. */
function forwardWithTapes(
  network: Network,
  work: Work,
  pass: Pass,
  lowest: number,
): { states: tf.Tensor2D[]; tapes: Taped[] } {
  const first = Math.max(0, lowest)
  const tapes: Taped[] = []
  let keep = work.spare > 0
  const states = forward(network, work, pass, lowest, (i, x) => {
    if (!keep || i < first) return tf.tidy(() => network.layer(i, x, pass))
    const made = taped(() => network.layer(i, x, pass))
    // The first one tells what all of them take.
    if (i === first) keep = bytesOf(made) * (network.layers - first) <= work.spare
    if (keep) tapes[i] = made
    else discard(made)
    return made.y as tf.Tensor2D
  })
  return { states, tapes }
}

/** The vector-Jacobian product of one layer, for `wanted` of what it was computed from; frees its tape, and its output where it is new. */
function pullThrough(layer: () => Taped, wanted: readonly tf.Tensor[], dy: tf.Tensor2D): tf.Tensor[] {
  return tf.tidy(() => {
    const made = layer()
    if (wanted.length > 0) return pull(made, wanted, dy)
    discard(made)
    return []
  })
}
