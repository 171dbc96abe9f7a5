/**
 * (IA)³, bottleneck adapters, prompt and prefix tuning against recorded numbers: losses, gradients, training, that a run goes on exactly,
 * and that what is exported reads back and merges.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  createSession,
  evaluate,
  generate,
  loadModel,
  loadTrainable,
  type Model,
  type TrainSession,
} from '../../src/engine'
import { openWeights } from '../../src/engine/formats/checkpoint-index'
import { mergeWeights } from '../../src/engine/formats/merge'
import { readPeft, writePeft, type PeftAdapter } from '../../src/engine/formats/peft'
import { writeSafetensors } from '../../src/engine/formats/safetensors'
import { scoresOf } from '../../src/engine/export/scores'
import { tf } from '../../src/engine/tf'
import { countLabels, packBatch } from '../../src/engine/train/batch'
import { checkpointAdapter } from '../../src/engine/train/checkpoint'
import type { Job } from '../../src/shared/job'
import { DEFAULT_SAMPLING } from '../../src/shared/protocol'
import type { Checkpoint } from '../../src/shared/records'
import { onWebGPU } from '../support/backends'
import {
  encodedRows,
  goldenFolder,
  goldenJob,
  goldenJson,
  goldenModel,
  goldenSource,
  inOrder,
  readGolden,
  readGoldenTensors,
  type Golden,
} from '../support/golden'
import { gradientsOf } from '../support/gradients'
import { memoryFolder } from '../support/memory-folder'

interface Recorded {
  case: string
  method: 'ia3' | 'bottleneck' | 'prompt' | 'prefix'
  row_losses: { loss: number }[]
  row_losses_after: { loss: number }[]
  steps: { loss: number; grad_norm: number }[]
}

const NAMES = [
  ...['ia3', 'ia3-gpt2', 'ia3-phi', 'bottleneck', 'bottleneck-gpt2'],
  ...['prompt', 'prompt-gpt2', 'prompt-granite', 'prefix', 'prefix-gpt2', 'prefix-mistral'],
]

const off = (actual: number, wanted: number): number => Math.abs(actual / wanted - 1)

/** What PEFT keeps as one tensor, from the parts that are trained here. */
function asStored(names: readonly string[], tensors: readonly tf.Tensor[]): Map<string, tf.Tensor> {
  if (!names[0]?.startsWith('prompt_embeddings.')) return new Map(names.map((name, i) => [name, tensors[i]!.clone()]))
  return new Map([['prompt_embeddings', tf.concat(tensors as tf.Tensor2D[], 1)]])
}

// Shaders are slow to compile where there is no graphics card: there, one case of each method.
const CASES = onWebGPU() ? ['ia3', 'bottleneck-gpt2', 'prompt-gpt2', 'prefix'] : NAMES

describe.each(CASES)('%s', (name) => {
  let recorded: Recorded
  let golden: Golden
  let model: Model
  let adapter: PeftAdapter

  beforeAll(async () => {
    recorded = await goldenJson<Recorded>(`soft/${name}/golden.json`)
    golden = await readGolden(recorded.case)
    model = await goldenModel(recorded.case)
    adapter = await readPeft(await goldenFolder(`soft/${name}`, ['adapter_config.json', 'adapter_model.safetensors']))
  })
  afterAll(() => model?.dispose())

  function start(change: Partial<Job> = {}, checkpoint?: Checkpoint, fresh = false): Promise<TrainSession> {
    const job = goldenJob(golden, { method: recorded.method, steps: recorded.steps.length, ...change })
    return createSession({
      model,
      job,
      batches: inOrder(encodedRows(golden), job.batchSize),
      evalRows: [],
      samplePrompt: null,
      ...(checkpoint || fresh ? {} : { initAdapter: adapter }),
      ...(checkpoint ? { checkpoint: structuredClone(checkpoint) } : {}),
    })
  }

  it('gives the recorded losses and gradients, padded and packed', async () => {
    const loaded = loadTrainable(model, adapter)
    const rows = encodedRows(golden)
    const { rows: results } = await evaluate(model, loaded, rows)
    recorded.row_losses.forEach(({ loss }, i) => expect(off(results[i]!.loss, loss), `row ${i}`).toBeLessThan(1e-4))
    const wanted = await readGoldenTensors(`soft/${name}`)
    const first = rows.slice(0, golden.settings.batch_size * golden.settings.grad_accum)
    const labels = first.reduce((sum, row) => sum + countLabels(row), 0)
    for (const together of [false, true]) {
      const batch = packBatch(first, !onWebGPU(), together, loaded.virtual)
      const { gradients, lossSum } = gradientsOf(model, loaded, batch, 1 / labels, 0)
      const names = loaded.variables.map((one) => one.name)
      const found = asStored(names, gradients)
      expect([...found.keys()].sort()).toEqual([...wanted.keys()].sort())
      for (const [key, { shape, values }] of wanted) {
        expect(found.get(key)!.shape).toEqual(shape)
        const got = await found.get(key)!.data()
        const size = Math.max(...values.map(Math.abs))
        values.forEach((value, at) => expect(Math.abs(got[at]! - value) / size, `${key} ${at}`).toBeLessThan(1e-3))
      }
      tf.dispose([...gradients, lossSum, ...found.values()])
    }
    loaded.dispose()
  })

  it('trains to the recorded losses and norms', async () => {
    const session = await start()
    const most = onWebGPU() ? 3 : recorded.steps.length
    for (const [i, wanted] of recorded.steps.slice(0, most).entries()) {
      const { event } = await session.advance()
      expect(off(event.loss, wanted.loss), `loss of step ${i + 1}`).toBeLessThan(1e-3)
      expect(off(event.gradNorm, wanted.grad_norm), `norm of step ${i + 1}`).toBeLessThan(3e-3)
    }
    if (most === recorded.steps.length) {
      const { rows } = await evaluate(model, session.adapter, encodedRows(golden))
      recorded.row_losses_after.forEach(({ loss }, i) =>
        expect(off(rows[i]!.loss, loss), `row ${i}`).toBeLessThan(5e-3),
      )
    }
    session.dispose()
  })

  it('starts afresh, goes on from a checkpoint with the same numbers, and leaves nothing behind', async () => {
    const change = { neftune: 5, virtualTokens: 4, bottleneckSize: 3, packing: true }
    const whole = await start(change, undefined, true)
    const base = await evaluate(model, null, encodedRows(golden))
    const untrained = await evaluate(model, whole.adapter, encodedRows(golden))
    if (recorded.method === 'ia3' || recorded.method === 'bottleneck')
      expect(off(untrained.loss, base.loss)).toBeLessThan(1e-6)
    for (let i = 0; i < 5; i++) await whole.advance()
    const wanted = await whole.checkpoint()
    whole.dispose()
    const before = tf.memory().numTensors
    const first = await start(change, undefined, true)
    for (let i = 0; i < 2; i++) await first.advance()
    const kept = await first.checkpoint()
    first.dispose()
    const second = await start(change, kept)
    for (let i = 0; i < 3; i++) await second.advance()
    const got = await second.checkpoint()
    second.dispose()
    expect(tf.memory().numTensors).toBe(before)
    expect(Object.keys(got.tensors)).toEqual(Object.keys(wanted.tensors))
    for (const key of Object.keys(got.tensors)) expect(got.tensors[key]!.bytes, key).toEqual(wanted.tensors[key]!.bytes)
  })

  it('is exported so that it reads back the same; what can be merged computes the same', async () => {
    const session = await start()
    for (let i = 0; i < 2; i++) await session.advance()
    const stored = checkpointAdapter(await session.checkpoint(), recorded.case)
    const rows = encodedRows(golden)
    const { loss } = await evaluate(model, session.adapter, rows)
    session.dispose()
    const files = Object.fromEntries(writePeft(stored).map((file) => [file.name, file.bytes]))
    const read = await readPeft(memoryFolder(files))
    expect(read).toEqual(stored)
    expect(Object.keys(read.tensors)).toEqual(Object.keys(adapter.tensors))
    const again = loadTrainable(model, read)
    expect(off((await evaluate(model, again, rows)).loss, loss)).toBeLessThan(1e-5)
    again.setStrength(0)
    expect((await evaluate(model, again, rows)).loss).toBe((await evaluate(model, null, rows)).loss)
    again.dispose()
    const source = await goldenSource(recorded.case)
    const base = await openWeights(source)
    if (recorded.method !== 'ia3') {
      expect(() => mergeWeights(base, read)).toThrow(/LoRA adapters only/)
      return
    }
    const weights = mergeWeights(base, read)
    const tensors = Object.fromEntries(await Promise.all(weights.names.map(async (n) => [n, await weights.read(n)])))
    const kept = ['config.json', 'tokenizer.json', 'tokenizer_config.json']
    const others = await Promise.all(kept.map(async (file) => [file, await source.read(file)] as const))
    const folder = memoryFolder({
      ...Object.fromEntries(others),
      'model.safetensors': writeSafetensors(tensors, { format: 'pt' }),
    })
    const merged = await loadModel(folder, { id: 'local:merged', name: 'merged' })
    expect(off((await evaluate(merged, null, rows)).loss, loss)).toBeLessThan(1e-5)
    merged.dispose()
  })

  it('answers with a cache as it scores without one', async () => {
    const loaded = loadTrainable(model, adapter)
    const sampling = { ...DEFAULT_SAMPLING, temperature: 0, repetitionPenalty: 1, maxNewTokens: 4 }
    let answered = 0
    for (const prompt of [
      [1, 17, 40, 63, 22],
      [1, 9, 80],
      [1, 33, 71, 50],
    ]) {
      const answer = generate(model, loaded, prompt, sampling)
      let turn = await answer.next()
      while (!turn.done) turn = await answer.next()
      const ids = [...prompt]
      for (const id of turn.value.ids) {
        const scores = (await scoresOf(model, loaded, ids)).slice(-model.network.vocabulary)
        expect(id).toBe(scores.indexOf(Math.max(...scores)))
        ids.push(id)
      }
      answered += turn.value.ids.length
    }
    expect(answered).toBeGreaterThan(0)
    loaded.dispose()
  })
})

describe('adapters that do not fit', () => {
  it('are refused with every bad tensor', async () => {
    const [small, other] = [await goldenModel('llama-gqa-tied'), await goldenModel('gpt2')]
    for (const name of ['ia3', 'bottleneck', 'prompt', 'prefix']) {
      const adapter = await readPeft(
        await goldenFolder(`soft/${name}`, ['adapter_config.json', 'adapter_model.safetensors']),
      )
      const [key] = Object.keys(adapter.tensors) as [string]
      const rest = Object.fromEntries(Object.entries(adapter.tensors).slice(1))
      expect(() => loadTrainable(small, { ...adapter, tensors: rest })).toThrow(`${key} is missing`)
      const strange = { ...adapter.tensors, more: adapter.tensors[key]! }
      expect(() => loadTrainable(small, { ...adapter, tensors: strange })).toThrow('more has no layer')
      if (name !== 'prompt') expect(() => loadTrainable(other, adapter)).toThrow(/does not fit/)
    }
    small.dispose()
    other.dispose()
  })
})
