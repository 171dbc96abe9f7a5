/**
 * The engine worker: joins engine, data, storage and hub behind EngineApi. Refuses to decide: the page does.
 */
import { serve } from '../src/client/wire'
import { checkModel, batchShares, forecast, tokenLosses } from '../src/engine'
import { asModelFolder, findGguf } from '../src/engine/formats/gguf-source'
import { folderOf, onlyFile, onlyModelFiles, pickedSource } from '../src/hub'
import { CodedError } from '../src/shared/errors'
import { newId } from '../src/shared/id'
import { completeJob } from '../src/shared/job'
import type { EngineApi } from '../src/shared/protocol'
import type { RunRecord } from '../src/shared/records'
import * as storage from '../src/storage'
import { importPeft } from './adapters'
import { answer } from './answer'
import { exportRun } from './export-run'
import { fetchModel, findModel } from './fetch-model'
import { handOff } from './handoff'
import { judgeRun, measureChange, rehearseJob, tryPromptingOf } from './judging'
import { runJob, Wish } from './run-job'
import { forgetModel, isBundled, openDataset } from './sources'
import { vary } from './vary'
import { Workshop } from './workshop'

const workshop = new Workshop()
const generations = new Set<AbortController>()
const judgings = new Set<AbortController>()
const exports = new Set<AbortController>()
let training: Wish | null = null
let fetching: AbortController | null = null

const api: EngineApi = {
  openDevice: (choice) => workshop.device(choice),
  listModels: () => workshop.records(),

  async importModel(files, onProgress) {
    const picked = pickedSource(files)
    const gguf = await findGguf(picked)
    const folder = gguf ? onlyFile(picked, gguf) : await folderOf(picked, 'config.json')
    const needed = gguf ? folder : onlyModelFiles(folder)
    const bytes = (await needed.list()).reduce((sum, { size }) => sum + size, 0)
    const id = `local:${newId()}`
    const folderName = files[0]?.path.includes('/') ? (files[0].path.split('/')[0] as string) : 'My model'
    const name = gguf ? gguf.replace(/^.*\//, '').replace(/\.gguf$/i, '') : folderName
    const record = await checkModel(await asModelFolder(folder), { id, name, onProgress })
    return storage.storeModel({ ...record, bytes, addedAt: Date.now() }, needed, { onProgress })
  },

  findHubModel: findModel,

  async fetchHubModel(request, onProgress) {
    if (fetching) throw new CodedError('usage', 'Another model is being fetched.', { fix: 'Pause it first, or wait.' })
    const cancel = (fetching = new AbortController())
    try {
      return await fetchModel(request, onProgress, cancel.signal)
    } finally {
      fetching = null
    }
  },

  async pauseFetch() {
    fetching?.abort()
  },

  async openModel(id, onProgress) {
    await workshop.withModel(id, onProgress, async () => {})
    return workshop.record(id)
  },

  async deleteModel(id) {
    if (isBundled(id)) throw new CodedError('usage', 'This model comes with the page and cannot be deleted.')
    await workshop.remove(id)
    await storage.deleteModel(id)
    forgetModel(id)
  },

  async forecast(job, rowLength, other) {
    const model = other ?? (await workshop.record(job.model))
    return forecast(model, job, rowLength, await workshop.anyDevice())
  },

  async batchShares(job, rowLength) {
    return batchShares(await workshop.record(job.model), job, rowLength, await workshop.anyDevice())
  },

  async createRun(given, name) {
    const job = completeJob({ ...given })
    const [model, { record: dataset, history }] = await Promise.all([workshop.record(job.model), openDataset(job.data)])
    if (dataset.revision) await storage.keepRevision(dataset.id, dataset.revision, history.done)
    const now = Date.now()
    const run: RunRecord = {
      ...{ id: newId(), name, job, model, dataset, status: 'new', createdAt: now, updatedAt: now },
      ...{ step: 0, totalSteps: 0, lastLoss: null, bestStep: null, bestEvalLoss: null, trainRows: 0, evalRows: 0 },
      ...{ trainableParameters: 0, backend: '', samples: [], marks: [], checkpoints: [], error: null },
    }
    await storage.putRun(run)
    return run
  },

  async train(id, onEvent) {
    if (training) {
      throw new CodedError('run.locked', 'Another run is training here.', {
        fix: 'Pause it first, or wait for its end.',
      })
    }
    const wish = (training = new Wish())
    try {
      return await runJob(workshop, id, onEvent, wish)
    } finally {
      training = null
    }
  },

  async pause() {
    training?.ask('pause')
  },

  async stop() {
    training?.ask('stop')
  },

  generate: (request, onText) => cancellable(generations, (signal) => answer(workshop, request, onText, signal)),

  async vary(request, onVariation, onProgress) {
    const cancel = new AbortController()
    generations.add(cancel)
    try {
      await vary(workshop, request, onVariation, onProgress, cancel.signal)
    } finally {
      generations.delete(cancel)
    }
  },

  async cancelGenerate() {
    for (const cancel of generations) cancel.abort()
  },

  judge: (request, onProgress) => cancellable(judgings, (signal) => judgeRun(workshop, request, onProgress, signal)),
  measureChange: (id, checkpoint, onProgress) =>
    cancellable(judgings, (signal) => measureChange(id, checkpoint, onProgress, signal)),

  async rehearse(kind, job, onStep, onProgress) {
    if (training) {
      throw new CodedError('run.locked', 'A run is training here.', { fix: 'Pause it first, or wait for its end.' })
    }
    return cancellable(judgings, (signal) => rehearseJob(workshop, kind, job, onStep, onProgress, signal))
  },

  async tryPrompting(job, onProgress) {
    if (training) {
      throw new CodedError('run.locked', 'A run is training here.', { fix: 'Pause it first, or wait for its end.' })
    }
    return cancellable(judgings, (signal) => tryPromptingOf(workshop, job, onProgress, signal))
  },

  async cancelJudging() {
    for (const cancel of judgings) cancel.abort()
  },

  tokenLosses: (modelId, ids) =>
    workshop.withModel(
      modelId,
      () => {},
      (model) => {
        const inputIds = Int32Array.from(ids)
        return workshop.alone(() => tokenLosses(model, null, { index: 0, inputIds, labels: inputIds }))
      },
    ),

  exportRun: (request, onProgress) =>
    cancellable(exports, (signal) => exportRun(workshop, request, onProgress, signal)),
  handOff: (request, onProgress) => cancellable(exports, (signal) => handOff(request, onProgress, signal)),

  async cancelExport() {
    for (const cancel of exports) cancel.abort()
  },

  importAdapter: (modelId, files) => importPeft(workshop, modelId, files),
}

/** Work that can be ended from outside, by a controller that stands in a set as long as it lasts. */
async function cancellable<T>(underWay: Set<AbortController>, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const cancel = new AbortController()
  underWay.add(cancel)
  try {
    return await work(cancel.signal)
  } finally {
    underWay.delete(cancel)
  }
}

serve(api)
void storage.cleanModels().catch(() => {})
