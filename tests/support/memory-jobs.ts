/** Jobs whose memory is forecast and measured: families, batches, lengths, ranks, precisions, optimisers, objectives. Refuses to judge. */
import { createSession, forecast, loadModel, spareMemory } from '../../src/engine'
import { gpuBackend } from '../../src/engine/ops/gpu'
import { ReplayPool } from '../../src/engine/ops/replay-pool'
import { hostBytes } from '../../src/engine/ops/host-weights'
import { completeJob, type Job } from '../../src/shared/job'
import type { DeviceReport, EncodedRow, MemoryForecast } from '../../src/shared/records'
import { tf } from '../../src/engine/tf'
import { inOrder } from './golden'
import { measurePeak } from './peak'
import { randomModel, SMOLLM2_135M } from './random-model'

const LLAMA = {
  model_type: 'llama',
  hidden_size: 256,
  intermediate_size: 704,
  num_hidden_layers: 4,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  vocab_size: 4096,
  max_position_embeddings: 2048,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: 'silu',
  tie_word_embeddings: true,
}
const WIDE = { ...LLAMA, hidden_size: 512, intermediate_size: 1408, num_hidden_layers: 3 }
const QWEN = { ...LLAMA, model_type: 'qwen2', num_key_value_heads: 2, vocab_size: 12000, tie_word_embeddings: false } // prettier-ignore
const GPT2 = {
  model_type: 'gpt2',
  n_embd: 256,
  n_layer: 4,
  n_head: 8,
  vocab_size: 5000,
  n_positions: 512,
}
const GEMMA = {
  ...LLAMA,
  model_type: 'gemma3_text',
  head_dim: 64,
  num_attention_heads: 4,
  num_key_value_heads: 1,
  vocab_size: 16000,
  hidden_activation: 'gelu_pytorch_tanh',
  sliding_window: 512,
}
const NEOX = {
  ...LLAMA,
  model_type: 'gpt_neox',
  intermediate_size: 1024,
  num_key_value_heads: undefined,
  hidden_act: 'gelu',
  rotary_pct: 0.25,
  layer_norm_eps: 1e-5,
  tie_word_embeddings: false,
}

interface MemoryJob {
  name: string
  config: Record<string, unknown>
  dtype?: 'F32' | 'F16' | 'BF16'
  length: number
  job: Partial<Job>
  /** Rows to validate on; none where left out. */
  evalRows?: number
  /** Whether there is memory to keep what a second computation of each layer would give. */
  roomy?: true
}

export const MEMORY_JOBS: readonly MemoryJob[] = [
  { name: 'llama 4x64', config: LLAMA, length: 64, job: { batchSize: 4 } },
  { name: 'llama 4x200', config: LLAMA, length: 200, job: { batchSize: 4, rank: 8 } },
  { name: 'llama 1x512', config: LLAMA, length: 512, job: { batchSize: 1 } },
  { name: 'llama 8x128, rank 64', config: LLAMA, length: 128, job: { batchSize: 8, rank: 64 } },
  { name: 'llama 2x128, accumulated', config: LLAMA, length: 128, job: { batchSize: 2, gradAccum: 4, rank: 64 } },
  { name: 'llama 2x128, f16 file', config: LLAMA, dtype: 'F16', length: 128, job: { batchSize: 2 } },
  { name: 'wide 1x128', config: WIDE, length: 128, job: { batchSize: 1 } },
  { name: 'wide 1x128, f16', config: WIDE, length: 128, job: { batchSize: 1, quantization: 'f16' } },
  { name: 'wide 1x128, int8', config: WIDE, length: 128, job: { batchSize: 1, quantization: 'int8' } },
  { name: 'wide 1x128, nf4', config: WIDE, length: 128, job: { batchSize: 1, quantization: 'nf4' } },
  { name: 'wide 2x256, nf4', config: WIDE, length: 256, job: { batchSize: 2, quantization: 'nf4' } },
  { name: 'qwen2 untied 2x256', config: QWEN, length: 256, job: { batchSize: 2 } },
  { name: 'qwen2 untied 2x256, nf4', config: QWEN, length: 256, job: { batchSize: 2, quantization: 'nf4' } },
  { name: 'gpt2 4x128', config: GPT2, length: 128, job: { batchSize: 4 } },
  { name: 'gpt2 4x128, int8', config: GPT2, length: 128, job: { batchSize: 4, quantization: 'int8' } },
  { name: 'gemma3 2x128', config: GEMMA, length: 128, job: { batchSize: 2 } },
  { name: 'gpt-neox 2x256', config: NEOX, length: 256, job: { batchSize: 2 } },
  { name: 'llama 4x128, kept tapes', config: LLAMA, length: 128, job: { batchSize: 4 }, roomy: true },
  { name: 'gemma3 2x128, kept tapes', config: GEMMA, length: 128, job: { batchSize: 2 }, roomy: true },
  { name: 'gpt-neox 2x256, kept tapes', config: NEOX, length: 256, job: { batchSize: 2 }, roomy: true },
  { name: 'wide 2x256, nf4, kept tapes', config: WIDE, length: 256, job: { batchSize: 2, quantization: 'nf4' }, roomy: true }, // prettier-ignore
  { name: 'llama 4x128, DoRA', config: LLAMA, length: 128, job: { batchSize: 4, dora: true } },
  { name: 'llama 2x64, rank 64, SGD', config: LLAMA, length: 64, job: { batchSize: 2, rank: 64, optimizer: 'sgd' } },
  { name: 'llama 2x64, rank 64, Lion', config: LLAMA, length: 64, job: { batchSize: 2, rank: 64, optimizer: 'lion' } },
  { name: 'llama 2x64, rank 64, Muon', config: LLAMA, length: 64, job: { batchSize: 2, rank: 64, optimizer: 'muon' } },
  { name: 'llama 2x64, rank 64, 8-bit AdamW', config: LLAMA, length: 64, job: { batchSize: 2, rank: 64, optimizer: 'adamw-8bit' } }, // prettier-ignore
  { name: 'llama 2x64, rank 64, average', config: LLAMA, length: 64, job: { batchSize: 2, rank: 64, ema: 0.9 } },
  { name: 'llama 4x128, packed', config: LLAMA, length: 128, job: { batchSize: 4, packing: true } },
  { name: 'llama 2x128, DPO', config: LLAMA, length: 128, job: { batchSize: 2, objective: 'dpo' } },
  { name: 'llama 2x128, KTO', config: LLAMA, length: 128, job: { batchSize: 2, objective: 'kto' } },
  { name: 'llama 2x128, validated', config: LLAMA, length: 128, job: { batchSize: 2 }, evalRows: 20 },
  { name: 'wide 1x256, nf4, DPO, 8-bit AdamW, average', config: WIDE, length: 256, job: { batchSize: 1, quantization: 'nf4', objective: 'dpo', optimizer: 'adamw-8bit', ema: 0.9 }, evalRows: 4 }, // prettier-ignore
]

/** A real model's shapes: too large for a test, measured by tests/bench/memory.ts. */
export const SMOLLM2_JOB: MemoryJob = {
  name: 'SmolLM2-135M 1x512, nf4',
  config: SMOLLM2_135M,
  dtype: 'BF16',
  length: 512,
  job: { batchSize: 1, quantization: 'nf4' },
}

interface MemoryFigures {
  forecast: MemoryForecast
  measured: number
}

/** Rows that are all of one length, whole: with another answer where the objective compares two. */
function rowsOf(count: number, length: number, objective: Job['objective']): EncodedRow[] {
  return Array.from({ length: count }, (_, index) => {
    const inputIds = Int32Array.from({ length }, (_, i) => (i * 37 + index) % 2000)
    const labels = inputIds.map((id, i) => (i > 0 ? id : -100))
    const other = { inputIds: inputIds.map((id) => (id + 1) % 2000), labels: labels.map((id) => (id < 0 ? id : (id + 1) % 2000)) } // prettier-ignore
    if (objective === 'kto') return { index, inputIds, labels, rated: { good: index % 2 === 0, other } }
    return objective === 'sft' ? { index, inputIds, labels } : { index, inputIds, labels, rejected: other }
  })
}

/** Loads the model, trains three steps, evaluates and frees all; what was forecast and what was held at most. */
export async function forecastAndMeasure(given: MemoryJob): Promise<MemoryFigures> {
  const { config, dtype, job: settings, evalRows = 0 } = given
  const length = given.length
  const job = completeJob({ steps: 3, maxLength: length, evalEvery: 3, evalFraction: evalRows ? 0.1 : 0, sampleTokens: 0, ...settings }) // prettier-ignore
  const source = randomModel(JSON.parse(JSON.stringify(config)), dtype)
  const backend = tf.getBackend() as DeviceReport['backend']
  const budget = given.roomy ? 2 ** 40 : 0
  const device: DeviceReport = { backend, adapter: '', software: true, features: [], budget, tone: 'fair', note: '', selfTest: 0 } // prettier-ignore
  if (backend === 'webgpu') ReplayPool.of(gpuBackend()).trim()
  const { result, peak } = await measurePeak(async () => {
    const model = await loadModel(source, { id: 'local:x', name: 'x', quantization: job.quantization })
    const { record } = model
    const rows = rowsOf(2 * job.batchSize, length, job.objective)
    const session = await createSession({
      ...{ model, job, batches: inOrder(rows, job.batchSize), evalRows: rowsOf(evalRows, length, job.objective) },
      ...{ samplePrompt: null, spare: spareMemory(model, job, device) },
    })
    for await (const _ of session.run());
    session.dispose()
    const bytes = hostBytes()
    model.dispose()
    return { record, bytes }
  })
  return { forecast: forecast(result.record, job, length, device), measured: peak + result.bytes }
}
