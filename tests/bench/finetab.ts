/** Finetab itself as a contestant: the product's own loader, session and step, nothing special for the bench. */
import { createSession, loadModel } from '../../src/engine'
import { peftConfig } from '../../src/engine/adapters/settings'
import { tf } from '../../src/engine/tf'
import type { FileSource } from '../../src/shared/files'
import { completeJob } from '../../src/shared/job'
import type { BatchSource, EncodedRow, TensorData } from '../../src/shared/records'
import { modelFolder } from '../support/random-model'
import {
  adapterWeights,
  baseWeights,
  batchIds,
  EPSILON,
  LEARNING_RATE,
  RANK,
  ROPE_THETA,
  SCALE,
  type BenchShape,
  type BenchTensor,
  type Contestant,
} from './shapes'

/** Loads the bench's model as a Hugging Face folder in memory and trains it on the current backend. */
export async function finetabPeer(s: BenchShape): Promise<Contestant> {
  const before = tf.memory().numBytes
  const model = await loadModel(folder(s), { id: `local:${s.name}`, name: s.name })
  const job = completeJob({
    rank: RANK,
    alpha: RANK * SCALE,
    learningRate: LEARNING_RATE,
    weightDecay: 0,
    clip: 0,
    schedule: 'constant',
    batchSize: s.batch,
    steps: 100_000,
    evalEvery: 100_000,
    saveEvery: 100_000,
    maxLength: s.length,
  })
  const config = peftConfig({ rank: RANK, alpha: RANK * SCALE, dropout: 0, targets: job.targets }, s.name)
  const session = await createSession({
    model,
    job,
    batches: sameBatch(s),
    evalRows: [],
    samplePrompt: null,
    initAdapter: { config, tensors: toTensors(adapterWeights(s)) },
    spare: 2 ** 30,
  })
  let peak = 0
  return {
    async step() {
      const { event } = await session.advance()
      peak = Math.max(peak, event.memory - before)
      return event.loss
    },
    peakBytes: () => peak,
    dispose() {
      session.dispose()
      model.dispose()
    },
  }
}

function toTensors(tensors: BenchTensor[]): Record<string, TensorData> {
  return Object.fromEntries(
    tensors.map(({ name, shape, values }) => [name, { dtype: 'F32', shape, bytes: new Uint8Array(values.buffer) }]),
  )
}

function sameBatch(s: BenchShape): BatchSource {
  const ids = batchIds(s)
  const rows: EncodedRow[] = Array.from({ length: s.batch }, (_, index) => {
    const inputIds = ids.slice(index * s.length, (index + 1) * s.length)
    return { index, inputIds, labels: inputIds }
  })
  let position = 0
  return {
    rows: s.batch,
    next() {
      position += s.batch
      return rows
    },
    cursor: () => ({ position, seed: 0 }),
    restore: (cursor) => {
      position = cursor.position
    },
  }
}

function folder(s: BenchShape): FileSource {
  return modelFolder(
    {
      architectures: ['LlamaForCausalLM'],
      model_type: 'llama',
      hidden_size: s.hidden,
      intermediate_size: s.feedForward,
      num_hidden_layers: s.layers,
      num_attention_heads: s.heads,
      num_key_value_heads: s.kvHeads,
      vocab_size: s.vocabulary,
      rms_norm_eps: EPSILON,
      rope_theta: ROPE_THETA,
      max_position_embeddings: 2048,
      hidden_act: 'silu',
      tie_word_embeddings: true,
    },
    toTensors(baseWeights(s)),
  )
}
