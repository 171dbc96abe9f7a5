/** Finetab itself as a contestant: the product's own loader, session and step, nothing special for the bench. */
import { createSession, loadModel } from '../../src/engine'
import { peftConfig } from '../../src/engine/adapters/settings'
import type { Recorder } from '../../src/engine/ops/replay'
import { deviceBytes } from '../../src/engine/train/session'
import type { FileSource } from '../../src/shared/files'
import { completeJob } from '../../src/shared/job'
import type { BatchSource, EncodedRow, TensorData } from '../../src/shared/records'
import { modelFolder } from '../support/random-model'
import type { Counts } from './measure'
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
  type HostTime,
} from './shapes'

/**
 * Loads the bench's model as a Hugging Face folder in memory and trains it on the current backend.
 * @param spare bytes that steps may take to compute every layer once instead of twice.
 */
export async function finetabPeer(s: BenchShape, counts: Counts, spare = 2 ** 30): Promise<Contestant> {
  const before = deviceBytes()
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
    spare,
  })
  const clock = new HostClock(session.recorder, counts)
  return {
    async step() {
      clock.begin()
      return (await session.advance()).event.loss
    },
    bytes: () => deviceBytes() - before,
    host: () => clock.host,
    dispose() {
      session.dispose()
      model.dispose()
    },
  }
}

/** Host time of the work that goes through a recorder, step by step. */
class HostClock {
  #ops: HostTime = { ms: 0, dispatches: 0 }
  #replayed: HostTime = { ms: 0, dispatches: 0 }
  #step: HostTime = { ms: 0, dispatches: 0 }
  #runs = 0
  readonly #recorder: Recorder

  constructor(recorder: Recorder, counts: Counts) {
    this.#recorder = recorder
    const run = recorder.run.bind(recorder)
    recorder.run = (key, work) => {
      const [started, before] = [performance.now(), counts.dispatches]
      run(key, work)
      this.#step.ms += performance.now() - started
      this.#step.dispatches += counts.dispatches - before
    }
  }

  /** Files what the last step took: as replayed where it was, the fastest; else as through the ops, the last of which compiled nothing. */
  begin(): void {
    if (this.#step.dispatches > 0) {
      if (this.#recorder.replayed.runs === this.#runs) this.#ops = this.#step
      else if (!(this.#replayed.dispatches > 0 && this.#replayed.ms < this.#step.ms)) this.#replayed = this.#step
    }
    this.#runs = this.#recorder.replayed.runs
    this.#step = { ms: 0, dispatches: 0 }
  }

  get host(): { ops: HostTime; replayed: HostTime } | null {
    this.begin()
    return this.#ops.dispatches > 0 ? { ops: this.#ops, replayed: this.#replayed } : null
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

/** The bench's model as a Hugging Face folder in memory. */
export function folder(s: BenchShape): FileSource {
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
