/**
 * Peak bytes of a job before it runs, part by part, and what would make it fit. Refuses to measure: the session's events do that.
 */
import type { Job } from '../shared/job'
import type { DeviceReport, MemoryForecast, ModelShape } from '../shared/records'

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

/** Values of a LoRA adapter of a job on a model. */
export function adapterParameters(shape: ModelShape, job: Pick<Job, 'rank' | 'targets'>): number {
  return projections(shape)
    .filter(({ target }) => job.targets.includes(target))
    .reduce((sum, { out, in: inn }) => sum + shape.layers * job.rank * (out + inn), 0)
}

/** Bytes of the frozen weights: f32, twice on wasm where both layouts are kept. */
function weightBytes(shape: ModelShape, backend: DeviceReport['backend']): number {
  const layer = projections(shape).reduce((sum, { out, in: inn }) => sum + out * inn, 0) + 2 * shape.hiddenSize
  const table = shape.vocabulary * shape.hiddenSize
  const layouts = backend === 'webgpu' ? 1 : 2
  const head = shape.tiedHead ? table * layouts : table * (1 + layouts)
  return FLOAT * (shape.layers * layer * layouts + head)
}

/**
 * Bytes of activations at the peak: one hidden state a layer for the whole micro-batch, and the larger of
 * one layer recomputed under the tape with its gradients, and one chunk of logits.
 */
function activationBytes(
  shape: ModelShape,
  job: Pick<Job, 'batchSize' | 'rank'>,
  length: number,
  backend: DeviceReport['backend'],
): number {
  const n = job.batchSize * length
  const [q, kv] = [shape.heads * shape.headDim, shape.kvHeads * shape.headDim]
  const { hiddenSize: h, intermediateSize: f } = shape
  const states = (shape.layers + 1) * n * h
  // Kept by the tape: norms' and projections' inputs and outputs, rope's outputs, and each projection's low-rank product.
  const kept = n * (6 * h + 3 * q + 4 * kv + 3 * f + 7 * job.rank)
  // In flight at once in the backward pass: gradients of gate, up and their product, or of attention, which on wasm holds the
  // scores of one group of heads about three times over and on webgpu never.
  const scores = backend === 'webgpu' ? 0 : 3 * (shape.heads / shape.kvHeads) * length * length
  const flowing = Math.max(n * (3 * f + 2 * h), n * (3 * q + 2 * kv) + scores)
  // Scores, probabilities and what turns one into the other, for one chunk of rows: 3.2 times its size as measured.
  const logits = 3.2 * Math.min(2 ** 22, n * shape.vocabulary) + 3 * n * h
  return FLOAT * (states + Math.max(kept + flowing, logits))
}

/**
 * What a job needs at its peak.
 * @param rowLength tokens of the longest row after cutting.
 */
export function forecast(shape: ModelShape, job: Job, rowLength: number, device: DeviceReport): MemoryForecast {
  const length = Math.min(rowLength, job.maxLength)
  const total = (change: Partial<Job>, cut = length): MemoryForecast => parts(shape, { ...job, ...change }, cut, device)
  const now = total({})
  return now.fits ? now : { ...now, remedies: remedies(job, length, (change, cut) => total(change, cut).fits) }
}

function parts(shape: ModelShape, job: Job, length: number, device: DeviceReport): MemoryForecast {
  const trainable = FLOAT * adapterParameters(shape, job)
  const weights = weightBytes(shape, device.backend)
  // The adapter with its gradients (twice while micro-batches add up), and two moments.
  const adapter = trainable * (job.gradAccum > 1 ? 3 : 2)
  const optimiser = 2 * trainable
  const activations = activationBytes(shape, job, length, device.backend)
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
  for (let rank = Math.floor(job.rank / 2); rank >= 4; rank = Math.floor(rank / 2)) {
    const change = { rank, alpha: (job.alpha * rank) / job.rank }
    if (!fits(change, length)) continue
    found.push({ text: `Rank ${rank} instead of ${job.rank}.`, change })
    break
  }
  if (found.length > 0) return found
  for (let cut = 2 ** Math.floor(Math.log2(Math.max(9, length - 1))); cut >= 32; cut /= 2) {
    const change = { batchSize: 1, gradAccum: effective, maxLength: cut }
    if (fits(change, cut)) return [{ text: `Batches of 1, accumulated, and examples cut at ${cut} tokens.`, change }]
  }
  return []
}
