/** Memory that stays what it is: over 200 steps of every kind, and over runs one after the other. Every buffer and block is counted. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createSession, type Model, type TrainSession } from '../../src/engine'
import { deviceBytes } from '../../src/engine/train/session'
import { tf } from '../../src/engine/tf'
import type { Job } from '../../src/shared/job'
import type { Checkpoint, EncodedRow } from '../../src/shared/records'
import { onWebGPU } from '../support/backends'
import { goldenJob, goldenModel, inOrder, readGolden, type Golden } from '../support/golden'
import { countHeld } from '../support/peak'

let golden: Golden
let model: Model
const counted = countHeld()

beforeAll(async () => {
  golden = await readGolden('llama-gqa-tied')
  model = await goldenModel('llama-gqa-tied')
})
afterAll(() => {
  model?.dispose()
  counted.stop()
})

function row(index: number, length: number): EncodedRow {
  const sequence = (step: number) => {
    const inputIds = Int32Array.from({ length }, (_, i) => 3 + ((index + step * i) % 40))
    return { inputIds, labels: inputIds.map((id, i) => (i < 2 ? -100 : id)) }
  }
  return { index, ...sequence(3), rejected: sequence(5) }
}

/** On a GPU lengths are rounded up to 16 apart and to 64 in one row of many: these give two shapes, and one. */
const ROWS = [row(0, 6), row(1, 20), row(2, 5), row(3, 19)]
/** Steps from one evaluation to the next, in which all rows have their turns: from the second on memory goes the same way between two. */
const EVERY = 20

function start(of: Model, change: Partial<Job>, checkpoint?: Checkpoint): Promise<TrainSession> {
  const job = goldenJob(golden, {
    // So slow that samples stay the same: others would be of other lengths.
    ...{ learningRate: 1e-6, dropout: 0.1, batchSize: 1, gradAccum: 1, sampleTokens: 4 },
    targets: ['q_proj', 'down_proj'],
    ...change,
  })
  return createSession({
    ...{ model: of, job, batches: inOrder(ROWS, job.batchSize), evalRows: ROWS.slice(1, 3), samplePrompt: [1, 19, 38] },
    ...(checkpoint ? { checkpoint } : {}),
  })
}

function heldNow(): string {
  const memory = tf.memory() as tf.MemoryInfo & { numBytesInGPU?: number }
  const { bytes, blocks } = counted.held
  return `${memory.numTensors} tensors of ${memory.numBytes} bytes, ${memory.numBytesInGPU ?? 0} on a GPU, ${deviceBytes()} on the device, ${bytes} counted in ${blocks} blocks`
}

describe('memory', () => {
  const KINDS: Record<string, Partial<Job>> = {
    'LoRA with dropout': {},
    'LoRA over packed rows, 8-bit moments and an average': { packing: true, batchSize: 2, optimizer: 'adamw-8bit', ema: 0.9 }, // prettier-ignore
    'full fine-tuning': { method: 'full', dropout: 0 },
    DPO: { objective: 'dpo' },
  }
  it.each(Object.keys(KINDS))('stays the same from its second evaluation to step 200: %s', async (kind) => {
    const session = await start(model, { steps: 200, evalEvery: EVERY, saveEvery: 2 * EVERY, ...KINDS[kind] })
    const held = new Map<number, string>()
    const seen = { eval: 0, sample: 0, checkpoint: 0 }
    for await (const event of session.run()) {
      if (event.kind === 'step') held.set(event.step, heldNow())
      if (event.kind in seen) seen[event.kind as keyof typeof seen]++
    }
    for (let step = 1 + 3 * EVERY; step <= 200; step++)
      expect(held.get(step), `step ${step}`).toBe(held.get(step - EVERY))
    expect([held.size, seen.eval, seen.sample]).toEqual([200, 200 / EVERY, 200 / EVERY])
    expect(seen.checkpoint).toBeGreaterThanOrEqual(200 / EVERY / 2)
    // Each step of each shape, its norm and its update, but for what must agree first.
    if (onWebGPU()) expect(session.recorder.replayed.runs).toBeGreaterThan(450)
    session.dispose()
  })

  it('is given back by runs that pause, go on and end, model and all: ten one after the other', async () => {
    const round = async (): Promise<string> => {
      const own = await goldenModel('llama-gqa-tied')
      const first = await start(own, { steps: 4, evalEvery: 2 })
      for await (const event of first.run()) if (event.kind === 'step' && event.step === 2) break
      const checkpoint = await first.checkpoint()
      first.dispose()
      const second = await start(own, { steps: 4, evalEvery: 2 }, checkpoint)
      for await (const _ of second.run());
      expect(second.step).toBe(4)
      second.dispose()
      own.dispose()
      return heldNow()
    }
    const tensors = tf.memory().numTensors
    await round()
    const settled = await round()
    for (let i = 3; i <= 10; i++) expect(await round(), `round ${i}`).toBe(settled)
    expect(tf.memory().numTensors).toBe(tensors)
    // Nor does the pool keep the buffers of a model that has gone.
    if (onWebGPU()) expect(deviceBytes()).toBe((tf.memory() as { numBytesInGPU?: number }).numBytesInGPU)
  })
})
