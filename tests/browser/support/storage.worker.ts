/** Storage as a worker has it (with sync access handles), so that tests can kill it at any moment. */
import { serve } from '../../../src/client/wire'
import { folderOf, pickedSource } from '../../../src/hub'
import * as storage from '../../../src/storage'
import { checkpointAt, datasetRecord, modelRecord } from './records'

let held: FileSystemSyncAccessHandle | null = null

const api = {
  /** Keeps a file of a model open for so many ms, or until it is to be let go. */
  async hold(id: string, name: string, ms: number) {
    const models = await (await navigator.storage.getDirectory()).getDirectoryHandle('models')
    const file = await (await models.getDirectoryHandle(encodeURIComponent(id))).getFileHandle(name)
    const handle = (held = await file.createSyncAccessHandle())
    setTimeout(() => handle.close(), ms)
  },
  async letGo() {
    held?.close()
  },
  /** Saves checkpoints 1, 2, 3, … for ever, telling each that is kept. */
  async saveForEver(id: string, tell: (step: number) => void) {
    for (let step = 1; ; step++) {
      await storage.saveCheckpoint(id, ['last', 'best'], checkpointAt(step, 20, 200_000))
      tell(step)
    }
  },
  /** Appends rows for ever. */
  async importForEver(id: string, tell: (rows: number) => void) {
    const rows = Array.from({ length: 5000 }, (_, index) => ({ text: `row ${index}` }))
    await storage.storeDataset(id, async (append) => {
      for (let done = 5000; ; done += 5000) {
        await append(rows)
        tell(done)
        if (done > 1e9) return { record: datasetRecord(id), problems: [] }
      }
    })
  },
  async storeModel(id: string, files: { path: string; file: Blob }[]) {
    return storage.storeModel(modelRecord(id), await folderOf(pickedSource(files), 'config.json'))
  },
  /** Copies a model of many parts, of which every one after the first fails until it is told to be whole. */
  async transfer(id: string, whole: boolean, parallel: number) {
    const size = 40 * 2 ** 20
    const asked: number[] = []
    const source = {
      list: async () => [{ name: 'model.safetensors', size }],
      async read(_: string, start = 0, end = size) {
        asked.push(start)
        if (!whole && start > 0) throw new Error('the connection broke')
        return new Uint8Array(end - start).fill(1 + start / 2 ** 24)
      },
    }
    const stored = storage.storeModel(modelRecord(id), source, { version: 'v1', parallel })
    const error = await stored.then(
      () => null,
      (thrown: Error) => thrown.message,
    )
    return { asked, error }
  },
  readModel: (id: string, name: string, start?: number, end?: number) => storage.modelSource(id).read(name, start, end),
  listTransfers: () => storage.listTransfers(),
  deleteModel: (id: string) => storage.deleteModel(id),
  cleanModels: () => storage.cleanModels(),
  async folders() {
    const models = await (await navigator.storage.getDirectory()).getDirectoryHandle('models', { create: true })
    const names: string[] = []
    for await (const name of models.keys()) names.push(name)
    return names
  },
  async plantLeftover(name: string) {
    const models = await (await navigator.storage.getDirectory()).getDirectoryHandle('models', { create: true })
    await models.getDirectoryHandle(name, { create: true })
  },
  /** Holds a run's lock for ever. */
  holdRun: (id: string, tell: () => void) => storage.withRunLock(id, () => (tell(), new Promise<never>(() => {}))),
  fail() {
    setTimeout(() => {
      throw new Error('a bug outside any call')
    })
    return new Promise(() => {})
  },
  echo: (value: unknown) => value,
}

export type StorageWorkerApi = typeof api
serve(api)
