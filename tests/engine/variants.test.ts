/** LoRA's variants against numbers recorded with PEFT: losses, gradients, training, and that a run goes on exactly. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { evaluate, loadTrainable, type Model, type TrainSession } from '../../src/engine'
import { rowNorms, FrozenMatrix } from '../../src/engine/ops'
import { asLora, plainDeltas, readPeft, type PeftAdapter } from '../../src/engine/formats/peft'
import { checkpointAdapter } from '../../src/engine/train/checkpoint'
import { packBatch } from '../../src/engine/train/batch'
import { tf } from '../../src/engine/tf'
import type { Job } from '../../src/shared/job'
import type { Checkpoint } from '../../src/shared/records'
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

const NAMES = ['dora', 'dora-gpt2', 'rslora-patterns', 'loraplus', 'last-layer', 'pissa']
const SETTINGS: Record<string, Partial<Job>> = {
  loraplus: { loraPlus: 4 },
  pissa: { loraInit: 'pissa' },
}

describe.each(NAMES)('%s', (name) => {
  let variant: RecordedRun
  let golden: Golden
  let model: Model
  let adapter: PeftAdapter | undefined

  beforeAll(async () => {
    variant = await goldenJson<RecordedRun>(`methods/${name}/golden.json`)
    golden = await readGolden(variant.case)
    model = await goldenModel(variant.case)
    if (name !== 'pissa') adapter = await goldenPeft(`methods/${name}`)
  })
  afterAll(() => model?.dispose())

  function start(change: Partial<Job> = {}, checkpoint?: Checkpoint): Promise<TrainSession> {
    const job = goldenJob(golden, {
      rank: 3,
      alpha: 6,
      steps: variant.steps.length,
      ...SETTINGS[name],
      ...change,
    })
    return sessionOver(encodedRows(golden), { model, job, checkpoint, ...(adapter ? { initAdapter: adapter } : {}) })
  }

  it.skipIf(name === 'pissa')('gives the losses and gradients of PEFT', async () => {
    const loaded = loadTrainable(model, adapter!)
    const rows = encodedRows(golden)
    const { rows: results } = await evaluate(model, loaded, rows)
    expectRowLosses(results, variant.row_losses, 1e-4)
    const first = firstStep(golden, rows)
    const batch = packBatch(first.rows, false)
    await expectGradients(`methods/${name}`, { model, adapter: loaded, batch, scale: 1 / first.labels })
    loaded.dispose()
  })

  it('trains to the same losses and norms', async () => {
    const session = await start()
    await expectTraining(session, variant, encodedRows(golden))
  })

  it('goes on from a checkpoint with the same numbers, and leaves nothing behind', async () => {
    const wanted = await checkpointAfter(await start({ dropout: 0.1 }), 5)
    await expectExactResume((checkpoint) => start({ dropout: 0.1 }, checkpoint), wanted)
  })

  it('is exported so that it reads back the same, and merges into the same model', async () => {
    const session = await start()
    for (let i = 0; i < 3; i++) await session.advance()
    const stored = checkpointAdapter(await session.checkpoint(), variant.case)
    const rows = encodedRows(golden)
    const { loss } = await evaluate(model, session.adapter, rows)
    session.dispose()
    const read = await readPeft(peftFolder(stored))
    expect(read).toEqual(stored)
    const again = loadTrainable(model, read)
    expect(off((await evaluate(model, again, rows)).loss, loss)).toBeLessThan(1e-5)
    again.setStrength(0)
    const base = (await evaluate(model, null, rows)).loss
    expect((await evaluate(model, again, rows)).loss).toBe(base)
    again.setStrength(1e-6)
    expect(off((await evaluate(model, again, rows)).loss, base)).toBeLessThan(1e-4)
    again.dispose()
    const merged = await mergedModel(variant.case, read)
    expect(off((await evaluate(merged, null, rows)).loss, loss)).toBeLessThan(1e-5)
    merged.dispose()
    if (asLora(read).config.use_dora) expect(() => plainDeltas(read)).toThrow(/no place for a DoRA/)
  })
})

describe('row norms without the merged matrix', () => {
  it('are those of the merged matrix', async () => {
    const values = (count: number, seed: number): Float32Array =>
      Float32Array.from({ length: count }, (_, i) => Math.sin(seed + 1.7 * i))
    const w = FrozenMatrix.from(values(5 * 8, 1), 5, 8)
    const [a, b] = [tf.tensor2d(values(16, 2), [2, 8]), tf.tensor2d(values(10, 3), [5, 2])]
    const norms = rowNorms(w, { a, b, scale: 0.7 })
    const wanted = tf.tidy(() => tf.norm(tf.add(w.natural(), tf.mul(tf.matMul(b, a), 0.7)), 2, 1))
    const [got, want] = [await norms.data(), await wanted.data()]
    got.forEach((value, i) => expect(value).toBeCloseTo(want[i]!, 4))
    tf.dispose([norms, wanted, a, b])
    w.dispose()
  })
})
