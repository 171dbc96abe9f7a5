/** A classification head over LoRA against transformers and PEFT: losses, scores, gradients, training, export, and that a run goes on exactly. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { classify, createSession, evaluate, loadTrainable, type Model, type TrainSession } from '../../src/engine'
import { asLora, classesOf, readPeft, writePeft, type LoraPeft } from '../../src/engine/formats/peft'
import { tf } from '../../src/engine/tf'
import { packBatch } from '../../src/engine/train/batch'
import { checkpointAdapter } from '../../src/engine/train/checkpoint'
import type { Job } from '../../src/shared/job'
import type { Checkpoint, EncodedRow } from '../../src/shared/records'
import { onWebGPU } from '../support/backends'
import {
  goldenFolder,
  goldenJob,
  goldenJson,
  goldenModel,
  inOrder,
  readGolden,
  readGoldenTensors,
  type Golden,
} from '../support/golden'
import { gradientsOf } from '../support/gradients'
import { memoryFolder } from '../support/memory-folder'

interface Recorded {
  case: string
  classes: number[]
  scores: number[]
  row_losses: { loss: number }[]
  row_losses_after: { loss: number }[]
  steps: { loss: number; grad_norm: number }[]
}

const CLASSES = ['anger', 'fear', 'joy']
const off = (actual: number, wanted: number): number => Math.abs(actual - wanted) / Math.max(Math.abs(wanted), 0.05)

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
    const files = ['adapter_config.json', 'adapter_model.safetensors']
    adapter = asLora(await readPeft(await goldenFolder(`soft/${name}`, files)))
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
    return createSession({
      model,
      job,
      batches: inOrder(rows, job.batchSize),
      evalRows: rows.slice(0, 3),
      samplePrompt: [1, 40, 50],
      classes: CLASSES,
      ...(checkpoint || fresh ? {} : { initAdapter: adapter }),
      ...(checkpoint ? { checkpoint: structuredClone(checkpoint) } : {}),
    })
  }

  it('gives the losses, scores and gradients of transformers and PEFT, padded and packed', async () => {
    const loaded = loadTrainable(model, adapter)
    const { rows: results } = await evaluate(model, loaded, rows)
    recorded.row_losses.forEach(({ loss }, i) => expect(off(results[i]!.loss, loss), `row ${i}`).toBeLessThan(1e-4))
    const sizes = recorded.scores.map(Math.exp)
    const found = await classify(model, loaded, golden.rows[1]!.input_ids)
    expect(found[0]!.probability).toBeGreaterThanOrEqual(found[1]!.probability)
    for (const { name: label, probability } of found) {
      const wanted = sizes[CLASSES.indexOf(label)]! / sizes.reduce((sum, value) => sum + value, 0)
      expect(Math.abs(probability - wanted)).toBeLessThan(1e-4)
    }
    const wanted = await readGoldenTensors(`soft/${name}`)
    expect(loaded.variables.map((one) => one.name).sort()).toEqual([...wanted.keys()].sort())
    const first = rows.slice(0, golden.settings.batch_size * golden.settings.grad_accum)
    for (const together of [false, true]) {
      const batch = packBatch(first, !onWebGPU(), together)
      const { gradients, lossSum } = gradientsOf(model, loaded, batch, 1 / first.length, 0)
      for (const [i, { name: key }] of loaded.variables.entries()) {
        const { values } = wanted.get(key)!
        const got = await gradients[i]!.data()
        const size = Math.max(...values.map(Math.abs))
        values.forEach((value, at) => expect(Math.abs(got[at]! - value) / size, key).toBeLessThan(1e-3))
      }
      tf.dispose([...gradients, lossSum])
    }
    loaded.dispose()
  })

  it('trains to the same losses and norms', async () => {
    const session = await start()
    const most = onWebGPU() ? 3 : recorded.steps.length
    for (const [i, wanted] of recorded.steps.slice(0, most).entries()) {
      const { event } = await session.advance()
      expect(off(event.loss, wanted.loss), `loss of step ${i + 1}`).toBeLessThan(1e-3)
      expect(off(event.gradNorm, wanted.grad_norm), `norm of step ${i + 1}`).toBeLessThan(5e-3)
    }
    session.dispose()
  })

  it('starts undecided, samples in words, goes on from a checkpoint exactly, and is exported with its head', async () => {
    const whole = await start({ dropout: 0.1, steps: 5, evalEvery: 2 }, undefined, true)
    const { loss } = await evaluate(model, whole.adapter, rows)
    expect(loss).toBeCloseTo(Math.log(3), 5)
    const steps = whole.run()
    for (let turn = await steps.next(); !turn.done; turn = await steps.next());
    expect(whole.samples.at(-1)!.text).toMatch(/^(anger|fear|joy) \d+%\n/)
    const wanted = await whole.checkpoint()
    whole.dispose()
    const before = tf.memory().numTensors
    const first = await start({ dropout: 0.1, steps: 5, evalEvery: 2 }, undefined, true)
    for (let i = 0; i < 2; i++) await first.advance()
    const kept = await first.checkpoint()
    first.dispose()
    const second = await start({ dropout: 0.1, steps: 5, evalEvery: 2 }, kept)
    for (let i = 0; i < 3; i++) await second.advance()
    const got = await second.checkpoint()
    second.dispose()
    expect(tf.memory().numTensors).toBe(before)
    for (const key of Object.keys(got.tensors)) expect(got.tensors[key]!.bytes, key).toEqual(wanted.tensors[key]!.bytes)
    const stored = checkpointAdapter(got, recorded.case)
    const files = Object.fromEntries(writePeft(stored).map((file) => [file.name, file.bytes]))
    expect(JSON.parse(new TextDecoder().decode(files['adapter_config.json']))).toMatchObject({
      task_type: 'SEQ_CLS',
      modules_to_save: ['score'],
    })
    expect(new TextDecoder().decode(files['adapter_config.json'])).not.toContain('"classes"')
    const read = await readPeft(memoryFolder(files))
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
