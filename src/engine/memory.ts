/**
 * Peak bytes of a job before it runs, part by part, and what would make it fit. Refuses to measure: the session's events do that.
 */
import { CodedError } from '../shared/errors'
import type { Job } from '../shared/job'
import type { DeviceReport, MemoryForecast, ModelFacts, ModelShape } from '../shared/records'
import { isPlainOnWasm, precisionOf, type MatrixRole } from './models/precision'
import { tile } from './ops/host-weights'
import { nf4Bytes } from './ops/nf4'
import type { Precision } from './ops/packing'

const FLOAT = 4

/** Widths of a layer's linear projections, by target. */
function projections(shape: ModelShape): { target: string; out: number; in: number }[] {
  const [q, kv] = [shape.heads * shape.headDim, shape.kvHeads * shape.headDim]
  const { hiddenSize: h, intermediateSize: f } = shape
  return [
    { target: 'q_proj', out: q, in: h },
    { target: 'k_proj', out: kv, in: h },
    { target: 'v_proj', out: kv, in: h },
    { target: 'o_proj', out: h, in: q },
    { target: 'gate_proj', out: f, in: h },
    { target: 'up_proj', out: f, in: h },
    { target: 'down_proj', out: h, in: f },
  ]
}

type MethodKeys = 'method' | 'rank' | 'targets' | 'virtualTokens' | 'bottleneckSize' | 'bottleneckPlaces'
type MethodSettings = Pick<Job, MethodKeys | 'trainedPart' | 'trainedLayers'>

/** Values that a job trains on a model. */
export function adapterParameters(shape: ModelShape, job: MethodSettings): number {
  const { layers, hiddenSize: h } = shape
  const kv = shape.kvHeads * shape.headDim
  switch (job.method) {
    case 'lora':
      return projections(shape)
        .filter(({ target }) => job.targets.includes(target))
        .reduce((sum, { out, in: inn }) => sum + layers * job.rank * (out + inn), 0)
    case 'full':
      return fullParameters(shape, job)
    case 'ia3':
      return layers * (2 * kv + shape.intermediateSize)
    case 'bottleneck':
      return layers * (job.bottleneckPlaces === 'both' ? 2 : 1) * ((2 * h + 1) * job.bottleneckSize + h)
    case 'prompt':
      return job.virtualTokens * h
    case 'prefix':
      return job.virtualTokens * layers * 2 * kv
  }
}

/** Values of the weights that are trained; of those by name all, which is the most that they may be. */
function fullParameters(shape: ModelShape, job: MethodSettings): number {
  const h = shape.hiddenSize
  const layer = projections(shape).reduce((sum, { out, in: inn }) => sum + out * inn, 2 * h)
  const table = shape.vocabulary * h
  const some = Math.min(shape.layers, job.trainedLayers)
  const head = shape.tiedHead ? 0 : table
  switch (job.trainedPart) {
    case 'last':
      return some * layer + h + head
    case 'first':
      return some * layer + table
    case 'norms':
      return (2 * shape.layers + 1) * h
    case 'head':
      return table
    default:
      return shape.layers * layer + h + table + head
  }
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
function weightBytes(
  { shape, dtype, parameters }: ModelFacts,
  { quantization, method }: Pick<Job, 'quantization' | 'method'>,
  backend: DeviceReport['backend'],
): number {
  const linear = shape.layers * projections(shape).reduce((sum, { out, in: inn }) => sum + out * inn, 0)
  const table = shape.vocabulary * shape.hiddenSize
  const vectors = FLOAT * (2 * shape.layers + 1) * shape.hiddenSize
  if (backend !== 'webgpu' && isPlainOnWasm(quantization, parameters))
    // Four times for its products; where all weights are trained, the base takes no part in them.
    return FLOAT * (method === 'full' ? linear + 2 * table : 4 * linear + (shape.tiedHead ? 4 : 5) * table) + vectors
  const size = (role: MatrixRole): number => BYTES[precisionOf(quantization, role, dtype)]
  return size('linear') * linear + size('table') * (shape.tiedHead ? 1 : 2) * table + vectors
}

/**
 * Bytes of activations at the peak: one hidden state a layer for the whole micro-batch, and the larger of
 * one layer recomputed under the tape with its gradients, and one chunk of logits.
 */
function activationBytes(
  { shape, parameters }: ModelFacts,
  job: MethodSettings & Pick<Job, 'batchSize' | 'quantization'>,
  length: number,
  backend: DeviceReport['backend'],
): number {
  const seq = length + virtualTokens(job)
  const n = job.batchSize * seq
  const [q, kv] = [shape.heads * shape.headDim, shape.kvHeads * shape.headDim]
  const { hiddenSize: h, intermediateSize: f } = shape
  const states = (shape.layers + 1) * n * h
  // Kept by the tape: norms' and projections' inputs and outputs, rope's outputs, and each projection's low-rank product.
  const kept = n * (6 * h + 3 * q + 4 * kv + 3 * f + keptOf(shape, job))
  // In flight at once in the backward pass: gradients of gate, up and their product, or of attention, which on wasm holds the
  // scores of one group of heads about three times over and on webgpu never.
  const scores = backend === 'webgpu' ? 0 : 3 * (shape.heads / shape.kvHeads) * seq * seq
  // The wasm backend keeps a packed copy of every right factor: inputs of projections, for the gradient of A.
  const copies = backend === 'webgpu' ? 0 : n * (2 * h + q + f)
  const flowing = Math.max(n * (3 * f + 2 * h), n * (3 * q + 2 * kv) + scores)
  // Scores, probabilities and what turns one into the other, for one chunk of rows: 3.2 times its size as measured.
  const logits = 3.2 * Math.min(2 ** 22, n * shape.vocabulary) + 3 * n * h
  // Where wasm unpacks weights, a tile of them and what the product makes of it.
  const unpacks = backend !== 'webgpu' && !isPlainOnWasm(job.quantization, parameters)
  const tiles = (size: number): number => (unpacks ? 2 * Math.min(tile.elements, size) : 0)
  // A head of several tiles takes its chunk of scores apart.
  const chunk = Math.min(n, 2 ** 22 / shape.vocabulary)
  const part = unpacks && shape.vocabulary * h > tile.elements ? chunk * (tile.elements / h) : 0
  const largest = Math.max(...projections(shape).map(({ out, in: inn }) => out * inn))
  return (
    FLOAT * (states + Math.max(kept + flowing + copies + tiles(largest), logits + tiles(shape.vocabulary * h) + part))
  )
}

/**
 * What a job needs at its peak.
 * @param rowLength tokens of the longest row after cutting.
 */
export function forecast(model: ModelFacts, job: Job, rowLength: number, device: DeviceReport): MemoryForecast {
  const length = Math.min(rowLength, job.maxLength)
  const total = (change: Partial<Job>, cut = length): MemoryForecast => parts(model, { ...job, ...change }, cut, device)
  const now = total({})
  return now.fits ? now : { ...now, remedies: remedies(job, length, (change, cut) => total(change, cut).fits) }
}

/**
 * The share of the budget that a job is predicted to take at its peak in batches of 1, 2, … rows, which may be added up.
 * @param rowLength tokens of the longest row after cutting.
 */
export function batchShares(model: ModelFacts, job: Job, rowLength: number, device: DeviceReport, most = 16): number[] {
  return Array.from({ length: most }, (_, i) => {
    const { total, budget } = parts(model, { ...job, batchSize: i + 1, gradAccum: 2 }, rowLength, device)
    return total / budget
  })
}

/**
 * The forecast of a job that fits.
 * @throws CodedError `memory.budget` where it does not, naming the changes that would make it fit.
 */
export function checkFits(model: ModelFacts, job: Job, rowLength: number, device: DeviceReport): MemoryForecast {
  const found = forecast(model, job, rowLength, device)
  if (found.fits) return found
  const mebibytes = (count: number): string => `${Math.ceil(count / 2 ** 20).toLocaleString('en')} MiB`
  const ways = found.remedies.map(({ text }) => text.replace(/\.$/, '')).join('; or: ')
  throw new CodedError(
    'memory.budget',
    `This job needs about ${mebibytes(found.total)} at its peak, and ${mebibytes(found.budget)} can be had here.`,
    {
      where: `${found.weights > found.activations ? 'base weights' : 'activations'} take the most`,
      fix: ways ? `${ways}.` : 'Choose a smaller model.',
    },
  )
}

function parts(model: ModelFacts, job: Job, length: number, device: DeviceReport): MemoryForecast {
  const { shape } = model
  const trainable = FLOAT * adapterParameters(shape, job)
  const weights = weightBytes(model, job, device.backend)
  // What is trained with its gradients (twice while micro-batches add up), and two moments.
  const isFull = job.method === 'full'
  const adapter = isFull ? fullBytes(trainable, shape, device.backend) : trainable * (job.gradAccum > 1 ? 3 : 2)
  const optimiser = (job.optimizer === 'adamw-8bit' && isFull ? 0.55 : 2) * trainable
  const activations = activationBytes(model, job, length, device.backend)
  const total = weights + adapter + optimiser + activations
  return {
    weights,
    adapter,
    optimiser,
    activations,
    total,
    budget: device.budget,
    fits: total <= device.budget,
    remedies: [],
  }
}

/**
 * Bytes of trained weights and their gradients, with those of one layer or table that are on their way to the sums. The wasm backend
 * keeps a transposed copy, and packed ones of both for its products.
 */
function fullBytes(trainable: number, shape: ModelShape, backend: DeviceReport['backend']): number {
  const table = FLOAT * shape.vocabulary * shape.hiddenSize
  const layer = FLOAT * projections(shape).reduce((sum, { out, in: inn }) => sum + out * inn, 0)
  return trainable * (backend === 'webgpu' ? 2 : 5) + Math.min(trainable, Math.max(2 * table, layer))
}

/** Single changes first, then the smallest batch with a shorter length; each one is checked to fit. */
function remedies(
  job: Job,
  length: number,
  fits: (change: Partial<Job>, length: number) => boolean,
): MemoryForecast['remedies'] {
  const found: MemoryForecast['remedies'] = []
  const effective = job.batchSize * job.gradAccum
  for (let size = Math.floor(job.batchSize / 2); size >= 1; size = Math.floor(size / 2)) {
    const change = { batchSize: size, gradAccum: Math.ceil(effective / size) }
    if (!fits(change, length)) continue
    found.push({ text: `Batches of ${size}, accumulated ${change.gradAccum} times: the same effective batch.`, change })
    break
  }
  for (let cut = 2 ** Math.floor(Math.log2(Math.max(9, length - 1))); cut >= 64; cut /= 2) {
    if (!fits({ maxLength: cut }, cut)) continue
    found.push({ text: `Examples cut at ${cut} tokens.`, change: { maxLength: cut } })
    break
  }
  if (job.method === 'full') {
    const eight = { optimizer: 'adamw-8bit' as const }
    if (job.optimizer === 'adamw' && fits(eight, length))
      found.push({ text: 'AdamW with moments in 8 bits.', change: eight })
    if (fits({ method: 'lora' }, length))
      found.push({ text: 'A LoRA adapter instead of all weights.', change: { method: 'lora' } })
    return found
  }
  const precisions = ['none', 'f16', 'int8', 'nf4'] as const
  for (const quantization of ['int8', 'nf4'] as const) {
    if (precisions.indexOf(job.quantization) >= precisions.indexOf(quantization)) continue
    if (!fits({ quantization }, length)) continue
    found.push({
      text: `Base weights in ${quantization === 'int8' ? '8' : '4'} bits (${quantization}).`,
      change: { quantization },
    })
    break
  }
  for (let rank = Math.floor(job.method === 'lora' ? job.rank / 2 : 0); rank >= 4; rank = Math.floor(rank / 2)) {
    const change = { rank, alpha: (job.alpha * rank) / job.rank }
    if (!fits(change, length)) continue
    found.push({ text: `Rank ${rank} instead of ${job.rank}.`, change })
    break
  }
  if (found.length > 0) return found
  const small = { batchSize: 1, gradAccum: effective, quantization: 'nf4' as const }
  if (fits(small, length))
    return [{ text: 'Batches of 1, accumulated, and base weights in 4 bits (nf4).', change: small }]
  for (let cut = 2 ** Math.floor(Math.log2(Math.max(9, length - 1))); cut >= 32; cut /= 2) {
    const change = { ...small, maxLength: cut }
    const text = `Batches of 1, accumulated, base weights in 4 bits (nf4), and examples cut at ${cut} tokens.`
    if (fits(change, cut)) return [{ text, change }]
  }
  return []
}
