/**
 * Peak bytes of a job against a budget before it runs, and what would make it fit. Refuses to measure: the session's events do that.
 */
import { CodedError } from '../shared/errors'
import type { Job } from '../shared/job'
import type { DeviceReport, MemoryForecast, ModelFacts } from '../shared/records'
import { objectiveOf } from './train/objectives/objective'
import { activationBytes, optimiserBytes, slicedBytes, tapeBytes, trainedBytes, weightBytes } from './memory-parts'

/** Share of what a job leaves free that its steps may fill, to compute each layer once instead of twice. */
const SHARE = 0.25

function spareOf({ budget, total }: MemoryForecast): number {
  return Math.max(0, SHARE * (budget - total))
}

/** Bytes that the steps of a job may take beyond what they need; 0 where it fills its budget. For {@link SessionInput.spare}. */
export function spareMemory({ record }: { record: ModelFacts }, job: Job, device: DeviceReport): number {
  return spareOf(parts(record, job, job.maxLength, device))
}

/**
 * What a job takes at its peak. Where there is room, that includes what saves computing each layer twice; what must fit does not.
 * @param rowLength tokens of the longest row after cutting.
 */
export function forecast(model: ModelFacts, job: Job, rowLength: number, device: DeviceReport): MemoryForecast {
  const length = Math.min(rowLength, job.maxLength)
  const total = (change: Partial<Job>, cut = length): MemoryForecast => parts(model, { ...job, ...change }, cut, device)
  const now = total({})
  if (!now.fits) return { ...now, remedies: remedies(job, length, (change, cut) => total(change, cut).fits) }
  const keeps = !objectiveOf(job) && tapeBytes({ model, job, length, backend: device.backend }) <= spareOf(now)
  return keeps ? parts(model, job, length, device, true) : now
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

function parts(model: ModelFacts, job: Job, length: number, device: DeviceReport, tapes = false): MemoryForecast {
  const { budget, backend } = device
  const weights = weightBytes(model, job, backend)
  const adapter = trainedBytes(model, job, backend)
  const optimiser = optimiserBytes(model, job, backend)
  const work = { model, job, length, backend }
  const sliced = backend === 'webgpu' && !device.software ? slicedBytes(work) : 0
  const activations = activationBytes(work, tapes) + sliced
  const total = weights + adapter + optimiser + activations
  return { weights, adapter, optimiser, activations, total, budget, fits: total <= budget, remedies: [] }
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
