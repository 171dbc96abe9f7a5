/** Training whole weights against numbers recorded with PyTorch: gradients, ten steps of AdamW, and that a run goes on exactly. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { evaluate, loadTrainable, type Model, type TrainSession } from '../../src/engine'
import { createFull } from '../../src/engine/adapters/full'
import { tf } from '../../src/engine/tf'
import { packBatch } from '../../src/engine/train/batch'
import { checkpointAdapter } from '../../src/engine/train/checkpoint'
import type { Job } from '../../src/shared/job'
import type { Checkpoint } from '../../src/shared/records'
import { relativeError } from '../support/backends'
import { gradientsOf } from '../support/gradients'
import {
  encodedRows,
  goldenJob,
  goldenJson,
  goldenModel,
  readGolden,
  sessionOver,
  readGoldenTensors,
  type Golden,
} from '../support/golden'
import {
  checkpointAfter,
  expectExactResume,
  expectRowLosses,
  expectSteps,
  firstStep,
  type RecordedStep,
} from '../support/recorded'

interface Full {
  case: string
  rate: number
  parameters: number
  trained: string[]
  steps: RecordedStep[]
  row_losses_after: { loss: number }[]
}

const ALL = { trainedPart: 'all' } as const
const SETTINGS: Record<string, Partial<Job>> = {
  ...{ 'llama-tied': ALL, 'llama-untied': ALL, gpt2: ALL, gemma2: ALL, qwen2: ALL, phi: ALL },
  last: { trainedPart: 'last', trainedLayers: 1 },
  first: { trainedPart: 'first', trainedLayers: 1 },
  norms: { trainedPart: 'norms' },
  head: { trainedPart: 'head' },
  named: { trainedPart: 'names', trainedNames: 'self_attn.q_proj, layers.1.mlp' },
  gradual: { trainedPart: 'gradual', trainedLayers: 1 },
}

describe.each(Object.keys(SETTINGS))('full fine-tuning, %s', (name) => {
  let full: Full
  let golden: Golden
  let model: Model
  let recorded: Awaited<ReturnType<typeof readGoldenTensors>>

  beforeAll(async () => {
    full = await goldenJson<Full>(`full/${name}/golden.json`)
    golden = await readGolden(full.case)
    model = await goldenModel(full.case)
    recorded = await readGoldenTensors(`full/${name}`)
  })
  afterAll(() => model?.dispose())

  function start(change: Partial<Job> = {}, checkpoint?: Checkpoint): Promise<TrainSession> {
    const job = goldenJob(golden, {
      method: 'full',
      ...SETTINGS[name],
      steps: full.steps.length,
      learningRate: full.rate,
      ...change,
    })
    return sessionOver(encodedRows(golden), { model, job, checkpoint })
  }

  /** Fails where a stored tensor is further from the recorded one than its largest value allows. */
  function expectRecorded(prefix: string, tensors: Awaited<ReturnType<typeof stored>>, most: number): number {
    let compared = 0
    for (const [key, { bytes }] of Object.entries(tensors)) {
      const wanted = recorded.get(`${prefix}/${key}`)
      if (!wanted) continue
      compared++
      expect(relativeError(new Float32Array(bytes.slice().buffer), wanted.values), key).toBeLessThan(most)
    }
    return compared
  }

  const stored = async (session: TrainSession) => (await session.adapter.toPeft('base')).tensors

  it('gives the gradients of PyTorch', async () => {
    const part = () => goldenJob(golden, { method: 'full', ...SETTINGS[name] })
    const weights = createFull(model, part())
    expect(weights.parameters).toBe(full.parameters)
    const { rows, labels } = firstStep(golden, encodedRows(golden))
    for (const packed of [false, true]) {
      const batch = packBatch(rows, false, packed)
      const { gradients, lossSum } = gradientsOf(model, weights, batch, 1 / labels, 0)
      // As files have them: gradients go where weights do.
      weights.variables.forEach(({ variable }, i) => {
        if (gradients[i]) variable.assign(gradients[i])
      })
      const { tensors } = await weights.toPeft('base')
      expect(expectRecorded('grad', tensors, 1e-3)).toBe([...recorded.keys()].filter((key) => key.startsWith('grad/')).length) // prettier-ignore
      tf.dispose([...gradients.filter(Boolean), lossSum])
      const again = createFull(model, part())
      weights.variables.forEach(({ variable }, i) => variable.assign(again.variables[i]!.variable))
      again.dispose()
    }
    weights.dispose()
  })

  it('trains to the same losses, norms and weights', async () => {
    const session = await start()
    const { whole } = await expectSteps(session, full.steps)
    if (whole) {
      const { rows } = await evaluate(model, session.adapter, encodedRows(golden))
      expectRowLosses(rows, full.row_losses_after, 1e-3)
      const weights = await stored(session)
      expect(expectRecorded('after', weights, 2e-3)).toBeGreaterThan(0)
      // Frozen weights are not even there.
      expect(Object.keys(weights).sort()).toEqual([...full.trained].sort())
    }
    const base = await evaluate(model, null, encodedRows(golden))
    expectRowLosses(base.rows, golden.row_losses.base, 1e-4, { label: 'of the base' })
    session.dispose()
  })

  it('goes on from a checkpoint with the same numbers, and leaves nothing behind', async () => {
    const wanted = await checkpointAfter(await start(), 4)
    await expectExactResume((checkpoint) => start({}, checkpoint), wanted)
  })

  it('is stored and loaded again, at any strength', async () => {
    const session = await start()
    for (let i = 0; i < 3; i++) await session.advance()
    const rows = encodedRows(golden)
    const wanted = await evaluate(model, session.adapter, rows)
    const peft = checkpointAdapter(await session.checkpoint(), 'base')
    session.dispose()
    const loaded = loadTrainable(model, peft)
    expect((await evaluate(model, loaded, rows)).loss).toBeCloseTo(wanted.loss, 6)
    loaded.setStrength(0)
    const base = await evaluate(model, null, rows)
    expect((await evaluate(model, loaded, rows)).loss).toBe(base.loss)
    loaded.setStrength(0.5)
    const half = (await evaluate(model, loaded, rows)).loss
    expect(half).not.toBe(base.loss)
    loaded.setStrength(1)
    expect((await evaluate(model, loaded, rows)).loss).toBeCloseTo(wanted.loss, 6)
    loaded.dispose()
  })
})
