/** A disk that is full: what was stored stays, and the error says what to do. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cdp } from 'vitest/browser'
import { folderOf, pickedSource } from '../../src/hub'
import * as storage from '../../src/storage'
import { checkpointAt, freshId, modelRecord, runRecord } from './support/records'

async function setQuota(quotaSize?: number): Promise<void> {
  const session = cdp() as unknown as { send(method: string, params: object): Promise<unknown> }
  await session.send('Storage.overrideQuotaForOrigin', { origin: location.origin, quotaSize })
}

describe('a full disk', () => {
  beforeAll(async () => setQuota((await storage.storageEstimate()).used + 4 * 2 ** 20))
  afterAll(() => setQuota())

  it('leaves the old checkpoint, metrics and record', async () => {
    const id = freshId('run')
    await storage.putRun(runRecord(id))
    let step = 1
    await storage.saveCheckpoint(id, ['last', 'best'], checkpointAt(step))
    // Chromium remembers for up to half a minute how much room there was: the first saves may still get through.
    const next = () =>
      storage.saveCheckpoint(id, ['last', 'best'], checkpointAt(step + 1, 4, 2 ** 23)).then(
        () => `step ${++step} saved`,
        (error: { code: string }) => error.code,
      )
    await expect.poll(next, { timeout: 60_000, interval: 500 }).toBe('storage.full')
    for (const kind of ['last', 'best'] as const) {
      const kept = await storage.loadCheckpoint(id, kind)
      expect(kept?.meta.step).toBe(step)
      expect(Object.values(kept?.tensors ?? {}).every(({ bytes }) => bytes.every((byte) => byte === step))).toBe(true)
    }
    expect(await storage.getRun(id)).toMatchObject({ step, checkpoints: [{ step }, { step }] })
    expect((await storage.getMetrics(id))?.step.length).toBe(step)
  })

  it('leaves no half-stored model', async () => {
    // On this thread, so in IndexedDB: a private context's OPFS, which tests run in, knows no quota.
    const id = freshId('model')
    const files = [
      { path: 'config.json', file: new Blob(['{}']) },
      { path: 'model.safetensors', file: new Blob([new Uint8Array(2 ** 26)]) },
    ]
    const stored = storage.storeModel(modelRecord(id), await folderOf(pickedSource(files), 'config.json'))
    await expect(stored).rejects.toMatchObject({ code: 'storage.full', fix: expect.stringContaining('Delete') })
    expect((await storage.listModels()).some((model) => model.id === id)).toBe(false)
    await expect(storage.modelSource(id).list()).rejects.toMatchObject({ code: 'file.missing' })
  })
})
