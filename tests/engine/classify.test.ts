/** A classification head over LoRA against transformers and PEFT: losses, scores, gradients, training, export, and that a run goes on exactly. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { classify, createSession, evaluate, loadTrainable, type Model, type TrainSession } from '../../src/engine'
import { classesOf, readPeft, type LoraPeft } from '../../src/engine/formats/peft'
import { packBatch } from '../../src/engine/train/batch'
import { checkpointAdapter } from '../../src/engine/train/checkpoint'
import type { Job } from '../../src/shared/job'
import type { Checkpoint, EncodedRow } from '../../src/shared/records'
import { onWebGPU } from '../support/backends'
import { peftFolder } from '../support/exported'
import {
  goldenAdapter,
  goldenJob,
  goldenJson,
  goldenModel,
  inOrder,
  readGolden,
  sessionOver,
  type Golden,
} from '../support/golden'
import {
  expectExactResume,
  expectGradients,
  expectRowLosses,
  expectSteps,
  firstStep,
  type RecordedRun,
} from '../support/recorded'

interface Recorded extends RecordedRun {
  classes: number[]
  scores: number[]
}

const CLASSES = ['anger', 'fear', 'joy']
// Losses come near zero: a share of nothing less than this.
const LEAST = { least: 0.05 }

describe.each(onWebGPU() ? ['classify-gpt2'] : ['classify', 'classify-gpt2'])('%s', (name) => {
  let recorded: Recorded
  let golden: Golden
  let model: Model
  let adapter: LoraPeft
  let rows: EncodedRow[]

  beforeAll(async () => {
    recorded = await goldenJson<Recorded>(`soft/${name}/golden.json`)
    golden = await readGolden(recorded.case)
    model = await goldenModel(recorded.case)
    adapter = await goldenAdapter('soft', name)
    adapter = { ...adapter, config: { ...adapter.config, classes: CLASSES } }
    rows = golden.rows.map(({ input_ids: ids }, index) => ({
      index,
      inputIds: Int32Array.from([...ids, 0]),
      labels: Int32Array.from([...ids.map(() => -100), recorded.classes[index] as number]),
    }))
  })
  afterAll(() => model?.dispose())

  function start(change: Partial<Job> = {}, checkpoint?: Checkpoint, fresh = false): Promise<TrainSession> {
    const steps = recorded.steps.length
    const job = goldenJob(golden, { objective: 'classification', rank: 3, alpha: 6, steps, ...change })
    return sessionOver(rows, {
      ...{ model, job, checkpoint, classes: CLASSES, evalRows: rows.slice(0, 3), samplePrompt: [1, 40, 50] },
      ...(fresh ? {} : { initAdapter: adapter }),
    })
  }

  it('gives the losses, scores and gradients of transformers and PEFT, padded and packed', async () => {
    const loaded = loadTrainable(model, adapter)
    const { rows: results } = await evaluate(model, loaded, rows)
    expectRowLosses(results, recorded.row_losses, 1e-4, LEAST)
    const sizes = recorded.scores.map(Math.exp)
    const found = await classify(model, loaded, golden.rows[1]!.input_ids)
    expect(found[0]!.probability).toBeGreaterThanOrEqual(found[1]!.probability)
    for (const { name: label, probability } of found) {
      const wanted = sizes[CLASSES.indexOf(label)]! / sizes.reduce((sum, value) => sum + value, 0)
      expect(Math.abs(probability - wanted)).toBeLessThan(1e-4)
    }
    const first = firstStep(golden, rows).rows
    for (const together of [false, true]) {
      const batch = packBatch(first, !onWebGPU(), together)
      await expectGradients(`soft/${name}`, { model, adapter: loaded, batch, scale: 1 / first.length })
    }
    loaded.dispose()
  })

  it('trains to the same losses and norms', async () => {
    const session = await start()
    await expectSteps(session, recorded.steps, { norm: 5e-3, ...LEAST })
    session.dispose()
  })

  it('starts undecided, samples in words, goes on from a checkpoint exactly, and is exported with its head', async () => {
    const change = { dropout: 0.1, steps: 5, evalEvery: 2 }
    const whole = await start(change, undefined, true)
    const { loss } = await evaluate(model, whole.adapter, rows)
    expect(loss).toBeCloseTo(Math.log(3), 5)
    const steps = whole.run()
    for (let turn = await steps.next(); !turn.done; turn = await steps.next());
    expect(whole.samples.at(-1)!.text).toMatch(/^(anger|fear|joy) \d+%\n/)
    const wanted = await whole.checkpoint()
    whole.dispose()
    const got = await expectExactResume((checkpoint) => start(change, checkpoint, true), wanted)
    const stored = checkpointAdapter(got, recorded.case)
    const files = peftFolder(stored)
    const config = new TextDecoder().decode(await files.read('adapter_config.json'))
    expect(JSON.parse(config)).toMatchObject({ task_type: 'SEQ_CLS', modules_to_save: ['score'] })
    expect(config).not.toContain('"classes"')
    const read = await readPeft(files)
    expect(read).toEqual(stored)
    expect(classesOf(read)).toEqual(CLASSES)
  })

  it('refuses other methods, and a head of other classes', async () => {
    await expect(start({ method: 'ia3' })).rejects.toMatchObject({ code: 'job.invalid' })
    const other = { ...adapter, config: { ...adapter.config, classes: ['a', 'b', 'c'] } }
    const job = goldenJob(golden, { objective: 'classification', rank: 3, alpha: 6 })
    const input = { model, job, batches: inOrder(rows, 2), evalRows: [], samplePrompt: null, classes: CLASSES }
    await expect(createSession({ ...input, initAdapter: other })).rejects.toThrow(/other classes/)
    const answers = { ...input, job: { ...job, objective: 'sft' as const }, initAdapter: adapter }
    await expect(createSession(answers)).rejects.toThrow(/classification head/)
  })
})
