/** Runs in half precision: PyTorch's numbers within a stated tolerance, a loss scale that gives way and goes on exactly, and what a device without halves does. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createSession, loadTrainable, type Model, type TrainSession } from '../../src/engine'
import { arithmeticHere } from '../../src/engine/ops/arithmetic'
import { tileOverride, type Tile } from '../../src/engine/ops/gemm-tile'
import { countLabels, packBatch } from '../../src/engine/train/batch'
import type { Job } from '../../src/shared/job'
import type { Checkpoint, EncodedRow } from '../../src/shared/records'
import { gradientsOf } from '../support/gradients'
import {
  encodedRows,
  goldenAdapter,
  goldenJob,
  goldenModel,
  inOrder,
  readGolden,
  readGoldenTensors,
  type Golden,
} from '../support/golden'
import { TOLERANCES } from '../support/precision'

const NAME = 'llama-gqa-tied'
/** Steps that are compared with PyTorch's. */
const STEPS = 4
/** What the device takes itself, which on a software adapter keeps nothing as halves, and tiles that do. */
const TILES: (Tile | null)[] = [null, { tm: 4, tn: 4, wy: 4, wx: 4, bk: 16 }]

let model: Model
let golden: Golden
let rows: EncodedRow[]

beforeAll(async () => {
  golden = await readGolden(NAME)
  model = await goldenModel(NAME)
  rows = encodedRows(golden)
})
afterAll(() => model?.dispose())

const off = (actual: number, wanted: number): number => Math.abs(actual / wanted - 1)

async function start(change: Partial<Job>, checkpoint?: Checkpoint): Promise<TrainSession> {
  const job = goldenJob(golden, { arithmetic: 'f16', ...change })
  return createSession({
    model,
    job,
    batches: inOrder(rows, job.batchSize),
    evalRows: [],
    samplePrompt: null,
    ...(checkpoint
      ? { checkpoint: structuredClone(checkpoint) }
      : { initAdapter: await goldenAdapter(NAME, golden.runs[0]!.adapter) }),
  })
}

describe.skipIf(arithmeticHere('f16') !== 'f16')('in half precision', () => {
  describe.each(TILES.map((tile) => ({ tile })))('with tile $tile', ({ tile }) => {
    beforeAll(() => {
      tileOverride.tile = tile
    })
    afterAll(() => {
      tileOverride.tile = null
    })

    it('gives the gradient of every adapter tensor', async () => {
      const tensors = await readGoldenTensors(NAME)
      const run = golden.runs[0]!
      const adapter = loadTrainable(model, await goldenAdapter(NAME, run.adapter))
      const batch = rows.slice(0, golden.settings.batch_size * golden.settings.grad_accum)
      const labels = batch.reduce((sum, row) => sum + countLabels(row), 0)
      const scale = 2 ** 16
      const { gradients, lossSum } = gradientsOf(model, adapter, packBatch(batch, false), scale / labels, 0, 0, 'f16')
      let worst = 0
      for (const [i, { name: key }] of adapter.variables.entries()) {
        const wanted = tensors.get(`${run.name}/grad/${key}`)!.values
        const values = (await gradients[i]!.data()) as Float32Array
        const size = Math.max(1e-6, ...wanted.map(Math.abs))
        wanted.forEach((value, at) => {
          const difference = Math.abs(values[at]! / scale - value) / size
          if (!(difference <= worst)) worst = difference
        })
      }
      expect(worst).toBeLessThan(TOLERANCES.f16.gradient)
      expect(worst, 'something was rounded').toBeGreaterThan(1e-5)
      for (const tensor of [...gradients, lossSum]) tensor.dispose()
      adapter.dispose()
    })

    it('trains to the same losses and norms', async () => {
      const session = await start({})
      expect(session.arithmetic).toBe('f16')
      for (const wanted of golden.runs[0]!.steps.slice(0, STEPS)) {
        const { event, mark } = await session.advance()
        expect(mark).toBeNull()
        const most = wanted.step === 1 ? TOLERANCES.f16.firstLoss : TOLERANCES.f16.loss
        expect(off(event.loss, wanted.loss), `loss of step ${wanted.step}`).toBeLessThan(most)
        expect(off(event.gradNorm, wanted.grad_norm), `norm of step ${wanted.step}`).toBeLessThan(TOLERANCES.f16.norm)
      }
      session.dispose()
    })
  })

  it('skips what overflows at half the scale, more than three times in a row without going back, and goes on exactly', async () => {
    const first = await start({ steps: 20 })
    await first.advance()
    const good = await first.checkpoint()
    expect(good.meta.lossScale).toEqual({ factor: 2 ** 16, good: 1 })
    first.dispose()
    const planted = 2 ** 26
    const session = await start(
      { steps: 20 },
      { ...good, meta: { ...good.meta, lossScale: { factor: planted, good: 7 } } },
    )
    let skipped = 0
    for (;;) {
      const { event, mark } = await session.advance()
      if (mark === null) {
        expect(event.loss).toBeGreaterThan(0)
        break
      }
      skipped++
      expect(mark).toMatchObject({ kind: 'rescaled', step: 1 + skipped })
      expect(mark.text).toContain(String(planted / 2 ** skipped))
      expect([event.loss, event.gradNorm]).toEqual([Number.NaN, Number.NaN])
      const { tensors, meta } = await session.checkpoint()
      for (const [name, tensor] of Object.entries(good.tensors))
        expect(tensors[name]!.bytes, name).toEqual(tensor.bytes)
      expect(meta.lossScale).toEqual({ factor: planted / 2 ** skipped, good: 0 })
    }
    expect(skipped).toBeGreaterThan(3)
    const half = await session.checkpoint()
    expect(half.meta.lossScale).toEqual({ factor: planted / 2 ** skipped, good: 1 })
    const resumed = await start({ steps: 20 }, half)
    for (let i = 0; i < 2; i++) {
      const [one, other] = [(await session.advance()).event, (await resumed.advance()).event]
      expect([other.loss, other.gradNorm]).toEqual([one.loss, one.gradNorm])
    }
    const [a, b] = [await session.checkpoint(), await resumed.checkpoint()]
    for (const name of Object.keys(a.tensors)) expect(b.tensors[name]!.bytes, name).toEqual(a.tensors[name]!.bytes)
    expect(b.meta.lossScale).toEqual(a.meta.lossScale)
    session.dispose()
    resumed.dispose()
  })

  it('goes back where no scale helps', async () => {
    const session = await start({ steps: 20 })
    await session.advance()
    const good = await session.checkpoint()
    session.dispose()
    const name = Object.keys(good.tensors).find((key) => key.endsWith('lora_B.weight'))!
    const huge = structuredClone(good)
    // An adapter that takes activations beyond what a half holds.
    huge.tensors[name]!.bytes.set(new Uint8Array(new Float32Array(huge.tensors[name]!.bytes.length / 4).fill(1e30).buffer)) // prettier-ignore
    const lost = await start({ steps: 20 }, huge)
    const kinds: string[] = []
    while (kinds.length < 3) kinds.push((await lost.advance()).mark!.kind)
    expect(kinds).toEqual(['skipped', 'skipped', 'rolled-back'])
    lost.dispose()
  })
})

describe.skipIf(arithmeticHere('f16') === 'f16')('without halves', () => {
  it('computes in full precision and says so once', async () => {
    const [asked, plain] = [await start({ steps: 3 }), await start({ steps: 3, arithmetic: 'f32' })]
    expect([asked.arithmetic, plain.arithmetic]).toEqual(['f32', 'f32'])
    expect((await asked.advance()).event.loss).toBe((await plain.advance()).event.loss)
    const said = { step: 0, kind: 'arithmetic', text: expect.stringContaining('full precision') }
    expect(asked.marks).toEqual([said])
    expect(plain.marks).toEqual([])
    const resumed = await start({ steps: 3 }, await asked.checkpoint())
    expect(resumed.marks).toEqual([said])
    for (const session of [asked, plain, resumed]) session.dispose()
  })
})
