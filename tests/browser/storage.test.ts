/** Storage in a real browser: IndexedDB, OPFS, locks, a disk that is full, tabs that die. */
import { afterEach, describe, expect, it } from 'vitest'
import { WorkerClient } from '../../src/client/worker-client'
import { folderOf, pickedSource } from '../../src/hub'
import * as storage from '../../src/storage'
import { checkpointAt, datasetRecord, freshId, metricColumns, modelRecord, runRecord } from './support/records'
import type { StorageWorkerApi } from './support/storage.worker'

const clients: WorkerClient<StorageWorkerApi>[] = []
function otherTab(): WorkerClient<StorageWorkerApi> {
  const client = new WorkerClient<StorageWorkerApi>(
    () => new Worker(new URL('./support/storage.worker.ts', import.meta.url), { type: 'module' }),
  )
  clients.push(client)
  return client
}
afterEach(() => clients.splice(0).forEach((client) => client.terminate()))

/** Lets a worker work until it has told something `times` times, then kills it. */
async function killAfter(
  client: WorkerClient<StorageWorkerApi>,
  times: number,
  work: (tell: () => void) => Promise<unknown>,
): Promise<void> {
  let told = 0
  const death = work(() => ++told === times && client.terminate())
  await expect(death).rejects.toMatchObject({ code: 'worker.died' })
}

describe('runs', () => {
  it('are listed newest first, changed from their newest state and deleted whole', async () => {
    const [older, newer] = [freshId('run'), freshId('run')]
    await storage.putRun(runRecord(older, { createdAt: 5 }))
    await storage.putRun(runRecord(newer, { createdAt: 6 }))
    const ids = (await storage.listRuns()).map(({ id }) => id)
    expect(ids.indexOf(newer)).toBeLessThan(ids.indexOf(older))

    await Promise.all([
      storage.updateRun(older, { name: 'Named' }),
      ...Array.from({ length: 20 }, () => storage.updateRun(older, ({ step }) => ({ step: step + 1 }))),
    ])
    expect(await storage.getRun(older)).toMatchObject({ id: older, name: 'Named', step: 20 })

    await storage.saveCheckpoint(older, ['last'], checkpointAt(3))
    await storage.deleteRun(older)
    expect(await storage.getRun(older)).toBeNull()
    expect(await storage.getMetrics(older)).toBeNull()
    expect(await storage.loadCheckpoint(older, 'last')).toBeNull()
    expect(await storage.getRun(newer)).not.toBeNull()
    await expect(storage.updateRun(older, { name: 'x' })).rejects.toMatchObject({ code: 'run.missing' })
  })

  it('keep their job, whatever a change says', async () => {
    const id = freshId('run')
    const record = runRecord(id)
    await storage.putRun(record)
    await storage.updateRun(id, { job: { ...record.job, rank: 99 }, id: 'other' })
    expect((await storage.getRun(id))?.job).toEqual(record.job)
  })

  it('put metrics together piece by piece, and a checkpoint replaces them with its own', async () => {
    const id = freshId('run')
    await storage.putRun(runRecord(id))
    await storage.appendMetrics(
      id,
      metricColumns([
        { step: 1, loss: 5 },
        { step: 2, loss: 4 },
      ]),
    )
    await storage.appendMetrics(id, metricColumns([{ step: 10, loss: 3 }]))
    await storage.appendMetrics(id, metricColumns([{ step: 10, evalLoss: 3.5 }]))
    const all = await storage.getMetrics(id)
    expect([...(all?.step ?? [])]).toEqual([1, 2, 10, 10])
    expect([...(all?.loss ?? [])]).toEqual([5, 4, 3, Number.NaN])
    expect(all?.evalLoss[3]).toBe(3.5)
    await storage.saveCheckpoint(id, ['last', 'best'], checkpointAt(2))
    expect([...((await storage.getMetrics(id))?.step ?? [])]).toEqual([1, 2])
    const { checkpoints, step } = (await storage.getRun(id))!
    expect(step).toBe(2)
    expect(checkpoints).toMatchObject([
      { kind: 'last', step: 2, evalLoss: 2, bytes: 32 },
      { kind: 'best', step: 2, evalLoss: 2, bytes: 32 },
    ])
  })

  it('may hold an adapter that came from elsewhere', async () => {
    const id = freshId('run')
    const { tensors } = checkpointAt(3)
    await storage.putImportedRun(runRecord(id, { status: 'imported' }), { config: { r: 8 }, tensors })
    expect(await storage.loadImportedAdapter(id)).toEqual({ config: { r: 8 }, tensors })
    expect(await storage.loadImportedAdapter(freshId('run'))).toBeNull()
    await storage.deleteRun(id)
    expect(await storage.loadImportedAdapter(id)).toBeNull()
  })

  it('keep of a tensor only its own bytes, not the file it was cut from', async () => {
    const id = freshId('run')
    await storage.putRun(runRecord(id))
    const file = new Uint8Array(1_000_000).fill(7)
    const checkpoint = checkpointAt(1)
    checkpoint.tensors['adapter/0'] = { dtype: 'U8', shape: [4], bytes: file.subarray(10, 14) }
    await storage.saveCheckpoint(id, ['last'], checkpoint)
    const kept = (await storage.loadCheckpoint(id, 'last'))?.tensors['adapter/0']
    expect(kept?.bytes).toEqual(new Uint8Array(4).fill(7))
    expect(kept?.bytes.buffer.byteLength).toBe(4)
  })
})

describe('checkpoints are whole or absent', () => {
  it('however large a tensor is, and the next one replaces all of the last', async () => {
    const id = freshId('run')
    await storage.putRun(runRecord(id))
    await storage.saveCheckpoint(id, ['last'], checkpointAt(3, 2, 140 * 2 ** 20))
    const large = await storage.loadCheckpoint(id, 'last')
    expect(large?.meta).toEqual(checkpointAt(3).meta)
    const tensors = Object.values(large?.tensors ?? {})
    expect(tensors.map(({ bytes }) => bytes.byteLength)).toEqual([140 * 2 ** 20, 140 * 2 ** 20])
    expect(tensors.every(({ bytes }) => bytes.every((byte) => byte === 3))).toBe(true)
    await storage.saveCheckpoint(id, ['last'], checkpointAt(4))
    expect(await storage.loadCheckpoint(id, 'last')).toEqual(checkpointAt(4))
    await storage.deleteRun(id)
  })

  it('where the record cannot be written', async () => {
    const id = freshId('run')
    await expect(storage.saveCheckpoint(id, ['last', 'best'], checkpointAt(1))).rejects.toMatchObject({
      code: 'run.missing',
    })
    expect(await storage.loadCheckpoint(id, 'last')).toBeNull()
    expect(await storage.getMetrics(id)).toBeNull()
  })

  it.each([1, 2, 5])('where the worker is killed while saving (after %i)', async (times) => {
    const id = freshId('run')
    await storage.putRun(runRecord(id))
    const tab = otherTab()
    await killAfter(tab, times, (tell) => tab.api.saveForEver(id, tell))
    const last = (await storage.loadCheckpoint(id, 'last'))!
    expect(last.meta.step).toBeGreaterThanOrEqual(times)
    for (const { bytes } of Object.values(last.tensors)) expect(bytes.every((b) => b === last.meta.step)).toBe(true)
    expect((await storage.loadCheckpoint(id, 'best'))?.meta.step).toBe(last.meta.step)
    expect((await storage.getRun(id))?.step).toBe(last.meta.step)
    expect((await storage.getMetrics(id))?.step.length).toBe(last.meta.step)
  })
})

describe('a run at work', () => {
  it('is locked for every other tab, and cannot be deleted', async () => {
    const id = freshId('run')
    await storage.putRun(runRecord(id, { status: 'running', step: 7 }))
    const tab = otherTab()
    await new Promise<void>((resolve) => void tab.api.holdRun(id, resolve).catch(() => {}))
    await expect(storage.withRunLock(id, async () => 'got it')).rejects.toMatchObject({ code: 'run.locked' })
    await expect(storage.deleteRun(id)).rejects.toMatchObject({ code: 'run.locked' })
    expect(await storage.getRun(id)).toMatchObject({ status: 'running', step: 7 })
    let free = false
    const freed = storage.whenRunIsFree(id).then(() => (free = true))
    expect((await storage.listRuns()).find((run) => run.id === id)?.status).toBe('running')
    expect(free).toBe(false)
    tab.terminate()
    await freed
    expect(await storage.getRun(id)).toMatchObject({ status: 'paused' })
    expect(await storage.withRunLock(id, async () => 'got it')).toBe('got it')
  })

  it('is paused at its last checkpoint once nobody holds it', async () => {
    const [withCheckpoint, without] = [freshId('run'), freshId('run')]
    await storage.putRun(runRecord(withCheckpoint))
    await storage.saveCheckpoint(withCheckpoint, ['last'], checkpointAt(4))
    await storage.updateRun(withCheckpoint, { status: 'running', step: 9 })
    await storage.putRun(runRecord(without, { status: 'preparing' }))
    const runs = await storage.listRuns()
    expect(runs.find(({ id }) => id === withCheckpoint)).toMatchObject({ status: 'paused', step: 4 })
    expect(runs.find(({ id }) => id === without)).toMatchObject({ status: 'paused', step: 0 })
  })

  it('lets errors of the work itself through', async () => {
    const failing = storage.withRunLock(freshId('run'), async () => {
      throw new DOMException('aborted by the work', 'AbortError')
    })
    await expect(failing).rejects.toThrow('aborted by the work')
  })
})

describe('datasets', () => {
  it('are read by any stretch of rows', async () => {
    const id = freshId('set')
    const rows = Array.from({ length: 9001 }, (_, index) => ({ text: `row ${index}` }))
    await storage.storeDataset(id, async (append) => {
      for (let at = 0; at < rows.length; at += 777) await append(rows.slice(at, at + 777))
      return { record: datasetRecord(id, rows.length), problems: [{ line: 3, reason: 'not JSON', text: '{' }] }
    })
    for (const [from, to] of [
      [0, 1],
      [255, 257],
      [256, 512],
      [4000, 4200],
      [8990, 99999],
      [9001, 9002],
      [5, 5],
    ] as const) {
      expect(await storage.readRows(id, from, to)).toEqual(rows.slice(from, to))
    }
    expect(await storage.readRows(id)).toEqual(rows)
    expect(await storage.readProblems(id)).toEqual([{ line: 3, reason: 'not JSON', text: '{' }])
    expect(await storage.updateDataset(id, { name: 'Named' })).toMatchObject({ name: 'Named', rows: 9001 })
    await storage.deleteDataset(id)
    expect(await storage.getDataset(id)).toBeNull()
    expect(await storage.readRows(id)).toEqual([])
    await expect(storage.updateDataset(id, { name: 'x' })).rejects.toMatchObject({ code: 'file.missing' })
  })

  it('leave nothing where the import fails', async () => {
    const id = freshId('set')
    const failing = storage.storeDataset(id, async (append) => {
      await append(Array.from({ length: 10_000 }, () => ({ text: 'x' })))
      throw new DOMException('stop', 'AbortError')
    })
    await expect(failing).rejects.toThrow('stop')
    expect(await storage.getDataset(id)).toBeNull()
    expect(await storage.readRows(id)).toEqual([])
  })

  it('leave nothing where the tab dies, once cleaned; others being written stay', async () => {
    const [dead, alive] = [freshId('set'), freshId('set')]
    const dying = otherTab()
    await killAfter(dying, 2, (tell) => dying.api.importForEver(dead, tell))
    const writing = otherTab()
    await new Promise<void>((resolve) => void writing.api.importForEver(alive, () => resolve()).catch(() => {}))
    expect((await storage.readRows(dead, 0, 10)).length).toBe(10)
    expect((await storage.listDatasets()).some(({ id }) => id === dead)).toBe(false)
    await expect
      .poll(async () => {
        await storage.cleanDatasets()
        return storage.readRows(dead, 0, 10)
      })
      .toEqual([])
    expect((await storage.readRows(alive, 0, 10)).length).toBe(10)
  })
})

describe('models', () => {
  const big = new Uint8Array(17 * 2 ** 20).map((_, index) => index % 251)
  const files = () => [
    { path: 'm/config.json', file: new Blob(['{"a":1}']) },
    { path: 'm/model.safetensors', file: new Blob([big]) },
    { path: 'm/empty.txt', file: new Blob([]) },
  ]
  const edge = 2 ** 24

  it('are stored in IndexedDB where there are no sync access handles', async () => {
    const id = freshId('model:a/b@c')
    const seen: number[] = []
    await storage.storeModel(modelRecord(id), await folderOf(pickedSource(files()), 'config.json'), {
      onProgress: ({ done }) => seen.push(done),
    })
    expect(seen.at(-1)).toBe(big.length + 7)
    expect((await storage.listModels()).map((model) => model.id)).toContain(id)
    const source = storage.modelSource(id)
    expect((await source.list()).map(({ name, size }) => [name, size])).toEqual([
      ['config.json', 7],
      ['model.safetensors', big.length],
      ['empty.txt', 0],
    ])
    expect(await source.read('model.safetensors', edge - 5, edge + 5)).toEqual(big.slice(edge - 5, edge + 5))
    expect(await source.read('model.safetensors', edge)).toEqual(big.slice(edge))
    expect(new TextDecoder().decode(await source.read('config.json'))).toBe('{"a":1}')
    expect(await source.read('empty.txt')).toEqual(new Uint8Array())
    await expect(source.read('other')).rejects.toMatchObject({ code: 'file.missing' })
    await storage.deleteModel(id)
    await expect(storage.modelSource(id).list()).rejects.toMatchObject({ code: 'file.missing', where: id })
  })

  it('are stored in OPFS by a worker and read from anywhere', async () => {
    const id = freshId('model:a/b@c')
    const { api } = otherTab()
    await api.storeModel(id, files())
    expect(await api.folders()).toContain(encodeURIComponent(id))
    expect(await storage.modelSource(id).read('model.safetensors', edge - 5, edge + 5)).toEqual(
      big.slice(edge - 5, edge + 5),
    )
    expect(await api.readModel(id, 'empty.txt')).toEqual(new Uint8Array())
    await api.deleteModel(id)
    expect(await api.folders()).not.toContain(encodeURIComponent(id))
  })

  it('leave nothing where a file cannot be read', async () => {
    const id = freshId('model')
    const source = await folderOf(pickedSource(files()), 'config.json')
    const failing = storage.storeModel(modelRecord(id), {
      list: () => source.list(),
      read: (name, start, end) => source.read(name, start, name === 'empty.txt' ? end : (end ?? 0) - 1),
    })
    await expect(failing).rejects.toMatchObject({ code: 'model.truncated', where: 'config.json' })
    expect((await storage.listModels()).some((model) => model.id === id)).toBe(false)
    await expect(storage.modelSource(id).list()).rejects.toMatchObject({ code: 'file.missing' })
  })

  it('are removed though a file of theirs is still held, at the latest at the next start', async () => {
    const id = freshId('model')
    const { api } = otherTab()
    await api.transfer(id, false, 1)
    await api.hold(id, 'model.safetensors', 120)
    await api.deleteModel(id)
    expect(await api.folders()).not.toContain(encodeURIComponent(id))
    await api.transfer(id, false, 1)
    await api.hold(id, 'model.safetensors', 60_000)
    await api.deleteModel(id)
    expect(await api.listTransfers()).not.toContainEqual(expect.objectContaining({ id }))
    await api.letGo()
    await api.cleanModels()
    expect(await api.folders()).not.toContain(encodeURIComponent(id))
  })

  it.each([1, 3])('go on with a broken transfer (%i reads at once)', async (parallel) => {
    const id = freshId('model')
    const { api } = otherTab()
    expect((await api.transfer(id, false, parallel)).error).toBe('the connection broke')
    expect(await api.listTransfers()).toContainEqual({ id, bytes: edge, total: 40 * 2 ** 20, origin: '' })
    await api.cleanModels()
    expect(await api.transfer(id, true, parallel)).toEqual({ asked: [edge, 2 * edge], error: null })
    expect([...(await api.readModel(id, 'model.safetensors', edge - 1, edge + 1))]).toEqual([1, 2])
    expect(await api.listTransfers()).not.toContainEqual(expect.objectContaining({ id }))
    await api.deleteModel(id)
  })

  it('that were left half-stored are cleaned', async () => {
    const { api } = otherTab()
    const [kept, leftover] = [freshId('model'), freshId('model')]
    await api.storeModel(kept, files())
    await api.plantLeftover(leftover)
    await api.cleanModels()
    const folders = await api.folders()
    expect(folders).toContain(kept)
    expect(folders).not.toContain(leftover)
    await api.deleteModel(kept)
  })
})

describe('settings', () => {
  it('are kept and forgotten', async () => {
    await storage.setSetting('theme', { dark: true })
    expect(await storage.getSetting('theme')).toEqual({ dark: true })
    await storage.setSetting('theme', undefined)
    expect(await storage.getSetting('theme')).toBeUndefined()
    expect(await storage.storageEstimate()).toMatchObject({ used: expect.any(Number), quota: expect.any(Number) })
  })
})

describe('a worker that dies', () => {
  it('rejects what was pending, and the next call starts a new one', async () => {
    const client = otherTab()
    expect(await client.api.echo({ a: [1] })).toEqual({ a: [1] })
    const pending = client.api.fail()
    await expect(pending).rejects.toMatchObject({ code: 'worker.died', where: expect.stringContaining('a bug') })
    expect(await client.api.echo('again')).toBe('again')
    const killed = client.api.fail()
    client.terminate()
    await expect(killed).rejects.toMatchObject({ code: 'worker.died' })
    expect(await client.api.echo('and again')).toBe('and again')
  })

  it('is noticed where its script cannot be loaded', async () => {
    const client = new WorkerClient<{ hello(): Promise<void> }>(
      () => new Worker('/no-such-worker.js', { type: 'module' }),
    )
    await expect(client.api.hello()).rejects.toMatchObject({ code: 'worker.died' })
  })

  it('is noticed where it ends without a word', async () => {
    let worker: Worker | undefined
    const client = new WorkerClient<StorageWorkerApi>(
      () => (worker = new Worker(new URL('./support/storage.worker.ts', import.meta.url), { type: 'module' })),
    )
    await client.api.echo(1)
    const pending = client.api.holdRun(freshId('run'), () => worker?.terminate())
    await expect(pending).rejects.toMatchObject({ code: 'worker.died', where: 'the browser ended it' })
  })
})
