/** Runs in half precision, by threads and on matrix units: PyTorch's numbers within a stated tolerance, a loss scale that gives way and goes on exactly, and what a device without halves does. */
import { afterAll, beforeAll, describe, expect, it as plainIt } from 'vitest'
import { createSession, loadModel, loadTrainable, type Model, type TrainSession } from '../../src/engine'
import { arithmeticHere, type Arithmetic } from '../../src/engine/ops/arithmetic'
import { tileOverride, type Tile } from '../../src/engine/ops/gemm-tile'
import { tf } from '../../src/engine/tf'
import { packBatch } from '../../src/engine/train/batch'
import { SETTINGS, type Job } from '../../src/shared/job'
import type { Checkpoint, EncodedRow } from '../../src/shared/records'
import { roundsHere } from '../support/backends'
import { gradientsOf } from '../support/gradients'
import {
  encodedRows,
  goldenAdapter,
  goldenJob,
  goldenModel,
  goldenSource,
  inOrder,
  readGolden,
  readGoldenTensors,
  readQuantisedRuns,
  type Golden,
  type QuantisedRun,
} from '../support/golden'
import { TOLERANCES } from '../support/precision'
import { expectSteps, firstStep } from '../support/recorded'

const NAME = 'llama-gqa-tied'
/** Steps that are compared with PyTorch's. */
const STEPS = 4
/** What the device takes itself, which on a software adapter keeps nothing as halves, and tiles that do. */
const TILED: { mode: Arithmetic; tile: Tile | null }[] = [
  { mode: 'f16', tile: null },
  { mode: 'f16', tile: { tm: 4, tn: 4, wy: 4, wx: 4, bk: 16 } },
  { mode: 'matrix', tile: null },
]
const WEIGHTS = Object.keys(TOLERANCES) as Job['quantization'][]
const CASES = TILED.flatMap((one) => WEIGHTS.map((quantization) => ({ ...one, quantization })))

let model: Model
let golden: Golden
let rows: EncodedRow[]

beforeAll(async () => {
  golden = await readGolden(NAME)
  model = await goldenModel(NAME)
  rows = encodedRows(golden)
})
afterAll(() => model?.dispose())

async function start(
  change: Partial<Job> & Pick<Job, 'arithmetic'>,
  checkpoint?: Checkpoint,
  base = model,
): Promise<TrainSession> {
  const job = goldenJob(golden, change)
  return createSession({
    model: base,
    job,
    batches: inOrder(rows, job.batchSize),
    evalRows: [],
    samplePrompt: null,
    ...(checkpoint
      ? { checkpoint: structuredClone(checkpoint) }
      : { initAdapter: await goldenAdapter(NAME, golden.runs[0]!.adapter) }),
  })
}

/** What PyTorch got over such base weights. */
async function recorded(quantization: Job['quantization']): Promise<Pick<QuantisedRun, 'gradients' | 'steps'>> {
  const run = golden.runs[0]!
  if (quantization !== 'none')
    return (await readQuantisedRuns()).find((one) => one.case === NAME && one.mode === quantization)!
  const tensors = await readGoldenTensors(NAME)
  const of = `${run.name}/grad/`
  const gradients = [...tensors].filter(([key]) => key.startsWith(of))
  return {
    steps: run.steps,
    gradients: Object.fromEntries(gradients.map(([key, { values }]) => [key.slice(of.length), [...values]])),
  }
}

describe.each(CASES)('$mode with tile $tile over weights in $quantization', ({ mode, tile, quantization }) => {
  describe.skipIf(!roundsHere(mode))('keeps to PyTorch', () => {
    const tolerance = TOLERANCES[quantization][mode]
    let base: Model
    let wanted: Awaited<ReturnType<typeof recorded>>

    beforeAll(async () => {
      tileOverride.tile = tile
      wanted = await recorded(quantization)
      base = await loadModel(await goldenSource(NAME), { id: `local:${NAME}`, name: NAME, quantization })
    })
    afterAll(() => {
      tileOverride.tile = null
      base?.dispose()
    })

    plainIt('gives the gradients of the adapter', async () => {
      const adapter = loadTrainable(base, await goldenAdapter(NAME, golden.runs[0]!.adapter))
      const { rows: batch, labels } = firstStep(golden, rows)
      const scale = 2 ** 16
      const { gradients, lossSum } = gradientsOf(base, adapter, packBatch(batch, false), scale / labels, 0, 0, mode)
      let [worst, seen] = [0, 0]
      for (const [i, { name: key }] of adapter.variables.entries()) {
        const own = wanted.gradients[key]
        if (!own) continue
        seen++
        const values = ((await gradients[i]!.data()) as Float32Array).map((value) => value / scale)
        const size = Math.max(1e-6, ...own.map(Math.abs))
        own.forEach((value, at) => (worst = Math.max(worst, Math.abs(values[at]! - value) / size)))
      }
      expect(seen).toBe(Object.keys(wanted.gradients).length)
      expect(worst).toBeLessThan(tolerance.gradient)
      expect(worst, 'something was rounded').toBeGreaterThan(1e-5)
      tf.dispose([...gradients, lossSum])
      adapter.dispose()
    })

    plainIt('trains to the same losses and norms', async () => {
      const session = await start({ arithmetic: mode, quantization }, undefined, base)
      expect(session.arithmetic).toBe(mode)
      await expectSteps(session, wanted.steps.slice(0, STEPS), { few: false, tolerance })
      expect(session.marks).toEqual([])
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
