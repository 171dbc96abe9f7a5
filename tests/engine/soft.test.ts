/**
 * (IA)³, bottleneck adapters, prompt and prefix tuning against recorded numbers: losses, gradients, training, that a run goes on exactly,
 * and that what is exported reads back and merges.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { evaluate, generate, loadTrainable, type Model, type TrainSession } from '../../src/engine'
import { readPeft, type PeftAdapter } from '../../src/engine/formats/peft'
import { scoresOf } from '../../src/engine/export/scores'
import { packBatch } from '../../src/engine/train/batch'
import { checkpointAdapter } from '../../src/engine/train/checkpoint'
import type { Job } from '../../src/shared/job'
import { DEFAULT_SAMPLING } from '../../src/shared/protocol'
import type { Checkpoint } from '../../src/shared/records'
import { onWebGPU } from '../support/backends'
import { mergedModel, peftFolder } from '../support/exported'
import {
  encodedRows,
  goldenJob,
  goldenJson,
  goldenModel,
  goldenPeft,
  readGolden,
  sessionOver,
  type Golden,
} from '../support/golden'
import {
  checkpointAfter,
  expectExactResume,
  expectGradients,
  expectRowLosses,
  expectTraining,
  firstStep,
  off,
  type RecordedRun,
} from '../support/recorded'

interface Recorded extends RecordedRun {
  method: 'ia3' | 'bottleneck' | 'prompt' | 'prefix'
}

const NAMES = [
  ...['ia3', 'ia3-gpt2', 'ia3-phi', 'bottleneck', 'bottleneck-gpt2'],
  ...['prompt', 'prompt-gpt2', 'prompt-granite', 'prefix', 'prefix-gpt2', 'prefix-mistral'],
]

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
    adapter = await goldenPeft(`soft/${name}`)
  })
  afterAll(() => model?.dispose())

  function start(change: Partial<Job> = {}, checkpoint?: Checkpoint, fresh = false): Promise<TrainSession> {
    const job = goldenJob(golden, { method: recorded.method, steps: recorded.steps.length, ...change })
    return sessionOver(encodedRows(golden), { model, job, checkpoint, ...(fresh ? {} : { initAdapter: adapter }) })
  }

  it('gives the recorded losses and gradients, padded and packed', async () => {
    const loaded = loadTrainable(model, adapter)
    const rows = encodedRows(golden)
    const { rows: results } = await evaluate(model, loaded, rows)
    expectRowLosses(results, recorded.row_losses, 1e-4)
    const first = firstStep(golden, rows)
    for (const together of [false, true]) {
      const batch = packBatch(first.rows, !onWebGPU(), together, loaded.virtual)
      await expectGradients(`soft/${name}`, { model, adapter: loaded, batch, scale: 1 / first.labels })
    }
    loaded.dispose()
  })

  it('trains to the recorded losses and norms', async () => {
    const session = await start()
    await expectTraining(session, recorded, encodedRows(golden))
  })

  it('starts afresh, goes on from a checkpoint with the same numbers, and leaves nothing behind', async () => {
    const change = { neftune: 5, virtualTokens: 4, bottleneckSize: 3, packing: true }
    const whole = await start(change, undefined, true)
    const base = await evaluate(model, null, encodedRows(golden))
    const untrained = await evaluate(model, whole.adapter, encodedRows(golden))
    if (recorded.method === 'ia3' || recorded.method === 'bottleneck')
      expect(off(untrained.loss, base.loss)).toBeLessThan(1e-6)
    const wanted = await checkpointAfter(whole, 5)
    await expectExactResume((checkpoint) => start(change, checkpoint, true), wanted)
  })

  it('is exported so that it reads back the same; what can be merged computes the same', async () => {
    const session = await start()
    for (let i = 0; i < 2; i++) await session.advance()
    const stored = checkpointAdapter(await session.checkpoint(), recorded.case)
    const rows = encodedRows(golden)
    const { loss } = await evaluate(model, session.adapter, rows)
    session.dispose()
    const read = await readPeft(peftFolder(stored))
    expect(read).toEqual(stored)
    expect(Object.keys(read.tensors)).toEqual(Object.keys(adapter.tensors))
    const again = loadTrainable(model, read)
    expect(off((await evaluate(model, again, rows)).loss, loss)).toBeLessThan(1e-5)
    again.setStrength(0)
    expect((await evaluate(model, again, rows)).loss).toBe((await evaluate(model, null, rows)).loss)
    again.dispose()
    if (recorded.method !== 'ia3') {
      await expect(mergedModel(recorded.case, read)).rejects.toThrow(/LoRA adapters only/)
      return
    }
    const merged = await mergedModel(recorded.case, read)
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
      const adapter = await goldenPeft(`soft/${name}`)
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
