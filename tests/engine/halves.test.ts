/** Runs in half precision, by threads and on matrix units: PyTorch's numbers within a stated tolerance, a loss scale that gives way and goes on exactly, and what a device without halves does. */
import { afterAll, beforeAll, describe, expect, it as plainIt } from 'vitest'
import { createSession, loadTrainable, type Model, type TrainSession } from '../../src/engine'
import { arithmeticHere, type Arithmetic } from '../../src/engine/ops/arithmetic'
import { tileOverride, type Tile } from '../../src/engine/ops/gemm-tile'
import { countLabels, packBatch } from '../../src/engine/train/batch'
import { SETTINGS, type Job } from '../../src/shared/job'
import type { Checkpoint, EncodedRow } from '../../src/shared/records'
import { roundsHere } from '../support/backends'
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
const CASES: { mode: Arithmetic; tile: Tile | null }[] = [
  { mode: 'f16', tile: null },
  { mode: 'f16', tile: { tm: 4, tn: 4, wy: 4, wx: 4, bk: 16 } },
  { mode: 'matrix', tile: null },
]

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

async function start(change: Partial<Job> & Pick<Job, 'arithmetic'>, checkpoint?: Checkpoint): Promise<TrainSession> {
  const job = goldenJob(golden, change)
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

describe.each(CASES)('$mode with tile $tile', ({ mode, tile }) => {
  describe.skipIf(!roundsHere(mode))('keeps to PyTorch', () => {
    beforeAll(() => {
      tileOverride.tile = tile
    })
    afterAll(() => {
      tileOverride.tile = null
    })

    plainIt('gives the gradient of every adapter tensor', async () => {
      const tensors = await readGoldenTensors(NAME)
      const run = golden.runs[0]!
      const adapter = loadTrainable(model, await goldenAdapter(NAME, run.adapter))
      const batch = rows.slice(0, golden.settings.batch_size * golden.settings.grad_accum)
      const labels = batch.reduce((sum, row) => sum + countLabels(row), 0)
      const scale = 2 ** 16
      const { gradients, lossSum } = gradientsOf(model, adapter, packBatch(batch, false), scale / labels, 0, 0, mode)
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
      expect(worst).toBeLessThan(TOLERANCES[mode].gradient)
      expect(worst, 'something was rounded').toBeGreaterThan(1e-5)
      for (const tensor of [...gradients, lossSum]) tensor.dispose()
      adapter.dispose()
    })

    plainIt('trains to the same losses and norms', async () => {
      const session = await start({ arithmetic: mode })
      expect(session.arithmetic).toBe(mode)
      for (const wanted of golden.runs[0]!.steps.slice(0, STEPS)) {
        const { event, mark } = await session.advance()
        expect(mark).toBeNull()
        const most = wanted.step === 1 ? TOLERANCES[mode].firstLoss : TOLERANCES[mode].loss
        expect(off(event.loss, wanted.loss), `loss of step ${wanted.step}`).toBeLessThan(most)
        expect(off(event.gradNorm, wanted.grad_norm), `norm of step ${wanted.step}`).toBeLessThan(TOLERANCES[mode].norm)
      }
      session.dispose()
    })
  })
})

describe.each(['f16', 'matrix'] as const)('%s', (arithmetic) => {
  const it = plainIt.skipIf(!roundsHere(arithmetic))

  it('skips what overflows at half the scale, more than three times in a row without going back, and goes on exactly', async () => {
    const first = await start({ arithmetic, steps: 20 })
    await first.advance()
    const good = await first.checkpoint()
    expect(good.meta.lossScale).toEqual({ factor: 2 ** 16, good: 1 })
    first.dispose()
    const planted = 2 ** 26
    const session = await start(
      { arithmetic, steps: 20 },
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
    const resumed = await start({ arithmetic, steps: 20 }, half)
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
    const session = await start({ arithmetic, steps: 20 })
    await session.advance()
    const good = await session.checkpoint()
    session.dispose()
    const name = Object.keys(good.tensors).find((key) => key.endsWith('lora_B.weight'))!
    const huge = structuredClone(good)
    // An adapter that takes activations beyond what a half holds.
    huge.tensors[name]!.bytes.set(new Uint8Array(new Float32Array(huge.tensors[name]!.bytes.length / 4).fill(1e30).buffer)) // prettier-ignore
    const lost = await start({ arithmetic, steps: 20 }, huge)
    const kinds: string[] = []
    while (kinds.length < 3) kinds.push((await lost.advance()).mark!.kind)
    expect(kinds).toEqual(['skipped', 'skipped', 'rolled-back'])
    lost.dispose()
  })
})

describe.each(['f16', 'matrix'] as const)('without %s', (arithmetic) => {
  const own = arithmeticHere(arithmetic)

  plainIt.skipIf(own === arithmetic)('computes in what comes closest and says so once', async () => {
    const [asked, plain] = [await start({ steps: 3, arithmetic }), await start({ steps: 3, arithmetic: own })]
    expect([asked.arithmetic, plain.arithmetic]).toEqual([own, own])
    expect((await asked.advance()).event.loss).toBe((await plain.advance()).event.loss)
    const said = { step: 0, kind: 'arithmetic', text: expect.stringContaining(SETTINGS.arithmetic.choices[own]) }
    expect(asked.marks).toEqual([said])
    expect(plain.marks).toEqual([])
    const resumed = await start({ steps: 3, arithmetic }, await asked.checkpoint())
    expect(resumed.marks).toEqual([said])
    for (const session of [asked, plain, resumed]) session.dispose()
  })
})
