/**
 * Bytes that a job needs at its peak, part by part: weights, what is trained, the optimiser, activations. Refuses to measure, and to know
 * of budgets.
 */
import type { Job } from '../shared/job'
import type { DeviceReport, ModelFacts, ModelShape } from '../shared/records'
import { isPlainOnWasm, precisionOf, type MatrixRole } from './models/precision'
import { chunk } from './ops/cross-entropy'
import { sumsBytes } from './ops/gemm-tile'
import { tile } from './ops/host-weights'
import { nf4Bytes } from './ops/nf4'
import type { Precision } from './ops/packing'
import { MIN_8BIT } from './optim/adamw-8bit'
import { bucket, wideBucket } from './train/batch'
import { sequencesOf } from './train/schedule'

const FLOAT = 4

/** Whether the feed-forward block has a gate beside its way up, which the number of parameters tells. */
function isGated({ shape, parameters }: ModelFacts): boolean {
  const { hiddenSize: h, intermediateSize: f, layers, headDim } = shape
  const around =
    shape.vocabulary * h * (shape.tiedHead ? 1 : 2) + layers * 2 * h * headDim * (shape.heads + shape.kvHeads)
  return parameters - around > layers * 2.5 * h * f
}

/** Widths of a layer's linear projections, by target. */
function projections(shape: ModelShape, gated = true): { target: string; out: number; in: number }[] {
  const [q, kv] = [shape.heads * shape.headDim, shape.kvHeads * shape.headDim]
  const { hiddenSize: h, intermediateSize: f } = shape
  return [
    { target: 'q_proj', out: q, in: h },
    { target: 'k_proj', out: kv, in: h },
    { target: 'v_proj', out: kv, in: h },
    { target: 'o_proj', out: h, in: q },
    ...(gated ? [{ target: 'gate_proj', out: f, in: h }] : []),
    { target: 'up_proj', out: f, in: h },
    { target: 'down_proj', out: h, in: f },
  ]
}

type MethodKeys = 'method' | 'rank' | 'targets' | 'virtualTokens' | 'bottleneckSize' | 'bottleneckPlaces'
type MethodSettings = Pick<Job, MethodKeys | 'loraLayers' | 'trainedPart' | 'trainedLayers'>

/** How many tensors of which size a job trains on a model. */
type Trained = readonly { readonly count: number; readonly size: number }[]

const tensors = (count: number, ...sizes: number[]): Trained => sizes.map((size) => ({ count, size }))

type TrainedSettings = MethodSettings & Pick<Job, 'dora'>

function trainedTensors(shape: ModelShape, job: TrainedSettings, gated = true): Trained {
  const { layers, hiddenSize: h } = shape
  const kv = shape.kvHeads * shape.headDim
  switch (job.method) {
    case 'lora':
      return projections(shape, gated)
        .filter(({ target }) => job.targets.includes(target))
        .flatMap(({ out, in: inn }) =>
          tensors(trainedDepth(shape, job), job.rank * inn, out * job.rank, ...(job.dora ? [out] : [])),
        )
    case 'full':
      return fullTensors(shape, job, gated)
    case 'ia3':
      return tensors(layers, kv, kv, shape.intermediateSize)
    case 'bottleneck':
      return tensors(layers * (job.bottleneckPlaces === 'both' ? 2 : 1), h * job.bottleneckSize, h * job.bottleneckSize, job.bottleneckSize, h) // prettier-ignore
    case 'prompt':
      return tensors(1, job.virtualTokens * h)
    case 'prefix':
      return tensors(layers, job.virtualTokens * 2 * kv)
  }
}

/** Layers from the lowest that is trained up: what lies below needs no gradient. */
function trainedDepth({ layers }: ModelShape, job: MethodSettings): number {
  if (job.method === 'lora') return Math.min(layers, job.loraLayers || layers)
  if (job.method !== 'full') return layers
  if (job.trainedPart === 'head') return 0
  return job.trainedPart === 'last' ? Math.min(layers, job.trainedLayers) : layers
}

/** The weights that are trained; of those by name all, which is the most that they may be. */
function fullTensors(shape: ModelShape, job: MethodSettings, gated: boolean): Trained {
  const { layers, hiddenSize: h } = shape
  const block = (count: number): Trained => tensors(count, ...projections(shape, gated).map(({ out, in: inn }) => out * inn), h, h) // prettier-ignore
  const table = tensors(1, shape.vocabulary * h)
  const head = shape.tiedHead ? [] : table
  const some = Math.min(layers, job.trainedLayers)
  switch (job.trainedPart) {
    case 'last':
      return [...block(some), ...tensors(1, h), ...head]
    case 'first':
      return [...block(some), ...table]
    case 'norms':
      return tensors(2 * layers + 1, h)
    case 'head':
      return table
    default:
      return [...block(layers), ...tensors(1, h), ...table, ...head]
  }
}

/** Values that a job trains on a model. */
export function adapterParameters(shape: ModelShape, job: TrainedSettings, gated = true): number {
  return trainedTensors(shape, job, gated).reduce((sum, { count, size }) => sum + count * size, 0)
}

/** Positions without a token of their own before every example. */
export function virtualTokens({ method, virtualTokens: count }: Pick<Job, 'method' | 'virtualTokens'>): number {
  return method === 'prompt' || method === 'prefix' ? count : 0
}

/** Values that the tape keeps of a method for each position of a layer. */
function keptOf(shape: ModelShape, job: MethodSettings): number {
  const [q, kv] = [shape.heads * shape.headDim, shape.kvHeads * shape.headDim]
  switch (job.method) {
    case 'lora':
      return 7 * job.rank
    case 'full':
      return 0
    case 'ia3':
      return 2 * kv + shape.intermediateSize
    case 'bottleneck':
      return (job.bottleneckPlaces === 'both' ? 2 : 1) * (3 * job.bottleneckSize + 2 * shape.hiddenSize)
    case 'prompt':
      return 0
    case 'prefix':
      return 2 * (q + kv)
  }
}

/** Bytes that one matrix value takes. */
const BYTES: { readonly [P in Precision]: number } = {
  f32: 4,
  f16: 2,
  bf16: 2,
  int8: 1 + 4 / 64,
  nf4: nf4Bytes(2 ** 24) / 2 ** 24,
}

/**
 * Bytes of the frozen weights. On wasm, unquantised ones of small models are kept in both layouts, which the backend's products pack
 * once more: four times; all others are unpacked tile by tile, twice over and packed once.
 */
export function weightBytes(
  model: ModelFacts,
  { quantization, method }: Pick<Job, 'quantization' | 'method'>,
  backend: DeviceReport['backend'],
): number {
  const { shape, dtype, parameters } = model
  const linear = shape.layers * projections(shape, isGated(model)).reduce((sum, { out, in: inn }) => sum + out * inn, 0)
  const table = shape.vocabulary * shape.hiddenSize
  const vectors = FLOAT * (2 * shape.layers + 1) * shape.hiddenSize
  if (backend !== 'webgpu' && isPlainOnWasm(quantization, parameters))
    // Four times for its products; where all weights are trained, the base takes no part in them.
    return FLOAT * (method === 'full' ? linear + 2 * table : 4 * linear + (shape.tiedHead ? 4 : 5) * table) + vectors
  const size = (role: MatrixRole): number => BYTES[precisionOf(quantization, role, dtype)]
  return size('linear') * linear + size('table') * (shape.tiedHead ? 1 : 2) * table + vectors
}

/**
 * Bytes of the trained tensors, of the sums of their gradients, and of what each has beside it: a frozen start, an average; on wasm the
 * packed copies that the backend's products keep of matrices.
 */
export function trainedBytes(model: ModelFacts, job: Job, backend: DeviceReport['backend']): number {
  const trainable = FLOAT * adapterParameters(model.shape, job, isGated(model))
  if (job.method === 'full') return fullBytes(trainable, model, backend) + (job.ema > 0 ? trainable : 0)
  const start = job.method === 'lora' && job.loraInit === 'pissa' ? 1 : 0
  const average = job.ema > 0 ? 1 : 0
  const copies = backend === 'wasm' ? 1 : 0
  return trainable * (2 + start + average + copies)
}

/**
 * Bytes of trained weights and the sums of their gradients, with those of one layer or table that are on their way there. The wasm
 * backend keeps a transposed copy, and packed ones of both for its products.
 */
function fullBytes(trainable: number, model: ModelFacts, backend: DeviceReport['backend']): number {
  const table = FLOAT * model.shape.vocabulary * model.shape.hiddenSize
  const layer = FLOAT * projections(model.shape, isGated(model)).reduce((sum, { out, in: inn }) => sum + out * inn, 0)
  return trainable * (backend === 'webgpu' ? 2 : 5) + Math.min(trainable, Math.max(2 * table, layer))
}

/** Tensors of a variable's size that an update has in flight, where it is not one program. */
const IN_FLIGHT: { readonly [O in Job['optimizer']]: number } = {
  adamw: 0,
  'adamw-8bit': 0,
  sgd: 6,
  lion: 10,
  muon: 28,
}
/** The same for an average of weights. */
const AVERAGING = 13

/**
 * Bytes of what the optimiser keeps between steps, and on webgpu of what an update has in flight: one variable of each size after the
 * other, in buffers that stay.
 */
export function optimiserBytes(model: ModelFacts, job: Job, backend: DeviceReport['backend']): number {
  const tensors = trainedTensors(model.shape, job, isGated(model))
  const sizes = new Set(tensors.map(({ size }) => size))
  const flying = backend === 'webgpu' ? IN_FLIGHT[job.optimizer] + (job.ema > 0 ? AVERAGING : 0) : 0
  const passing = FLOAT * flying * [...sizes].reduce((sum, size) => sum + size, 0)
  const of = (size: number): number => {
    switch (job.optimizer) {
      case 'adamw':
        return 2 * FLOAT * size
      case 'adamw-8bit':
        return size < MIN_8BIT ? 2 * FLOAT * size : 2 * (size + (FLOAT * size) / 256)
      default:
        return FLOAT * size
    }
  }
  return tensors.reduce((sum, { count, size }) => sum + count * of(size), passing)
}

/** What the activations of a job depend on. */
export interface Work {
  readonly model: ModelFacts
  readonly job: Job
  /** Tokens of the longest row. */
  readonly length: number
  readonly backend: DeviceReport['backend']
}

/** Positions of a micro-batch, and of one of its rows. */
function positions({ job, length, backend }: Work): { n: number; seq: number } {
  const rows = job.batchSize * sequencesOf(job)
  const used = Math.max(1, length - 1) + virtualTokens(job) // the last token predicts nothing
  if (backend === 'wasm') return { n: rows * used, seq: used }
  const seq = bucket(used)
  return { n: job.packing ? wideBucket(rows * used) : rows * seq, seq }
}

/** Bytes that the tapes of all layers keep, beside their inputs. */
export function tapeBytes(work: Work): number {
  const { shape } = work.model
  const [q, kv] = [shape.heads * shape.headDim, shape.kvHeads * shape.headDim]
  const { hiddenSize: h, intermediateSize: f } = shape
  // Two norms' outputs and what is between, rotated queries and keys, values, what was mixed, and the feed-forward block.
  const wide = isGated(work.model) ? (work.backend === 'wasm' ? 4 : 3) : 2
  const each = 3 * h + 2 * q + 2 * kv + wide * f + keptOf(shape, work.job)
  return FLOAT * trainedDepth(shape, work.job) * positions(work).n * each
}

/**
 * Bytes of activations at the peak: one hidden state a layer for the whole micro-batch, and one layer computed again under the tape with
 * its gradients, and one chunk of logits. Recorded steps keep buffers of every size they need; elsewhere the larger of the two counts.
 * @param tapes whether the tapes of all layers are kept.
 */
export function activationBytes(work: Work, tapes: boolean): number {
  const { model, job, backend } = work
  const { shape, parameters } = model
  const { n, seq } = positions(work)
  const [q, kv] = [shape.heads * shape.headDim, shape.kvHeads * shape.headDim]
  const { hiddenSize: h, intermediateSize: f, vocabulary } = shape
  const onWasm = backend === 'wasm'
  const states = (trainedDepth(shape, job) + (job.neftune > 0 ? 2 : 1)) * n * h
  // In a layer: norms' and projections' inputs and outputs, rope's outputs, and what the method adds; DoRA's outputs twice.
  const twice = job.method === 'lora' && job.dora ? 2 * h + q + 2 * kv + 2 * f : 0
  const wide = isGated(model) ? 3 : 2
  const kept = n * (6 * h + 3 * q + 4 * kv + wide * f + keptOf(shape, job) + twice)
  // In flight at once in the backward pass: gradients of gate, up and their product (a plain block's GELU is made of many ops on wasm),
  // or of attention, which on wasm holds the scores of one group of heads about three times over and on webgpu never.
  const scores = onWasm ? 3 * (shape.heads / shape.kvHeads) * seq * seq : 0
  const between = onWasm && wide === 2 ? 11 : wide
  const flowing = Math.max(n * (between * f + 2 * h), n * (3 * q + 2 * kv) + scores)
  // The wasm backend keeps a packed copy of every right factor: inputs of projections, for the gradient of A.
  const copies = onWasm ? n * (2 * h + q + f) : 0
  const gradients =
    job.method === 'full' ? 0 : adapterParameters(shape, job, wide === 3) / Math.max(1, trainedDepth(shape, job))
  // Scores and probabilities of one chunk of rows, and hidden states of the chunk and of all rows.
  const rows = Math.min(n, Math.max(1, Math.floor(chunk.elements / vocabulary)))
  const logits = onWasm ? 2 * rows * vocabulary + 5 * rows * h + 4 * n * h : (rows + (n % rows)) * vocabulary
  // Where wasm unpacks weights, a tile of them and what the product makes of it; a head of several tiles takes its chunk apart.
  const unpacks = onWasm && !isPlainOnWasm(job.quantization, parameters)
  const tiles = (size: number): number => (unpacks ? 2 * Math.min(tile.elements, size) : 0)
  const part = unpacks && vocabulary * h > tile.elements ? rows * (tile.elements / h) : 0
  const largest = Math.max(...projections(shape).map(({ out, in: inn }) => out * inn))
  const taped = tapes ? tapeBytes(work) / FLOAT : 0
  // What one gated layer takes has its own tape in it; a plain block's GELU takes as much beside.
  const others = wide === 3 ? taped * (1 - 1 / Math.max(1, trainedDepth(shape, job))) : taped
  if (!onWasm) return FLOAT * (states + kept + others + flowing + logits)
  const layer = (tapes ? taped : kept) + flowing + copies + gradients + tiles(largest)
  return FLOAT * (states + Math.max(layer, taped + logits + tiles(vocabulary * h) + part))
}

/**
 * Bytes of the sums of slices that products of few results and great depth have in flight on a graphics card: the gradients of low-rank
 * pairs, what goes into them, and the head's way back. Recorded steps keep one buffer of each size.
 */
export function slicedBytes(work: Work): number {
  const { shape } = work.model
  const { method, rank, bottleneckSize } = work.job
  const { n } = positions(work)
  const { hiddenSize: h, vocabulary } = shape
  const r = method === 'lora' ? rank : method === 'bottleneck' ? bottleneckSize : 0
  const rows = Math.min(n, Math.max(1, Math.floor(chunk.elements / vocabulary)))
  const pairs = projections(shape).flatMap(({ out, in: inn }) => [
    ...[inn, out].map((width) => ({ m: n, n: r, k: width })),
    ...[
      { m: r, n: inn, k: n },
      { m: out, n: r, k: n },
    ],
  ])
  const products = [...(r > 0 ? pairs : []), { m: rows, n: h, k: vocabulary }]
  return [...new Set(products.map(sumsBytes))].reduce((sum, bytes) => sum + bytes, 0)
}
