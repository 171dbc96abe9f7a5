/** The forecast against what steps really hold at their peak, on a real model, where memory can be counted byte by byte. */
import { describe, expect, it } from 'vitest'
import { createSession, forecast, loadModel } from '../../src/engine'
import { tf } from '../../src/engine/tf'
import { completeJob } from '../../src/shared/job'
import type { DeviceReport } from '../../src/shared/records'
import { onWebGPU } from '../support/backends'
import { inOrder } from '../support/golden'

const DEVICE: DeviceReport = {
  backend: 'wasm',
  adapter: '',
  software: true,
  features: [],
  budget: 2 ** 31,
  tone: 'fair',
  note: '',
  selfTest: 0,
}

/** The most bytes that tensors hold while `work` runs. */
async function peakBytes(work: () => Promise<unknown>): Promise<number> {
  const { state } = tf.engine()
  let now = state.numBytes
  let peak = now
  Object.defineProperty(state, 'numBytes', {
    configurable: true,
    get: () => now,
    set: (value: number) => {
      now = value
      peak = Math.max(peak, value)
    },
  })
  await work()
  Object.defineProperty(state, 'numBytes', { configurable: true, writable: true, value: now })
  return peak
}

describe.skipIf(onWebGPU() || typeof window !== 'undefined')('the memory forecast on tinystories-656K', () => {
  it.each([
    { batchSize: 4, length: 64, rank: 16, gradAccum: 1 },
    { batchSize: 4, length: 200, rank: 16, gradAccum: 1 },
    { batchSize: 1, length: 512, rank: 8, gradAccum: 1 },
    { batchSize: 6, length: 128, rank: 64, gradAccum: 2 },
  ])('is within 10% for %o', async ({ length, ...settings }) => {
    const { dataFolder, diskFolder } = await import('../support/folder')
    const path = dataFolder('models/tinystories-656K')
    if (!path) return
    const before = tf.memory().numBytes
    const model = await loadModel(diskFolder(path), { id: 'local:x', name: 'x' })
    const ids = Int32Array.from({ length }, (_, i) => (i * 37) % 2000)
    const rows = [{ index: 0, inputIds: ids, labels: ids }]
    const job = completeJob({ steps: 5, ...settings })
    const session = await createSession({ model, job, batches: inOrder(rows, job.batchSize), evalRows: [], samplePrompt: null }) // prettier-ignore
    await session.advance()
    const peak = (await peakBytes(() => session.advance())) - before
    const { total } = forecast(model.record.shape, job, length, DEVICE)
    expect(Math.abs(total / peak - 1), `forecast ${total}, measured ${peak}`).toBeLessThan(0.1)
    session.dispose()
    model.dispose()
  })
})
