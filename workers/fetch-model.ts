/**
 * A model from a hub: looked up, inspected before anything large is fetched, stored part by part, compared, listed.
 * Refuses to keep a token.
 */
import { checkModel, inspectModel } from '../src/engine'
import { Hub, HUGGING_FACE, verifyFiles, type HubModel } from '../src/hub'
import { CodedError, toReport, type ErrorReport } from '../src/shared/errors'
import type { OnProgress } from '../src/shared/files'
import { bytes as size } from '../src/shared/format'
import { FETCHING, type HubListing, type HubRequest } from '../src/shared/protocol'
import type { ModelRecord } from '../src/shared/records'
import * as storage from '../src/storage'
import { modelSource } from './sources'

/** Ranged reads under way at once. */
const PARALLEL = 4
/** ms between two reports of progress. */
const TELL_EVERY = 200

const open = ({ endpoint, token }: HubRequest) => new Hub({ endpoint: endpoint || HUGGING_FACE, token })

/** See EngineApi.findHubModel. */
export async function findModel(request: HubRequest): Promise<HubListing> {
  const hub = open(request)
  const model = await hub.find(request.name)
  const { id, owner, name, commit, licence, gated, bytes } = model
  const stored = await storage.getModel(id)
  const transferred = await bytesOf(id)
  const looked = stored ? { record: stored, refusal: null, locked: null } : await look(hub, model)
  const about = { id, owner, name, commit, page: hub.pageOf(model), licence, gated, bytes }
  return { ...about, ...looked, stored: stored !== null, transferred }
}

/** See EngineApi.fetchHubModel. */
export async function fetchModel(
  request: HubRequest,
  onProgress: OnProgress,
  signal: AbortSignal,
): Promise<ModelRecord> {
  const hub = open(request)
  const model = await hub.find(request.name, signal)
  const known = await storage.getModel(model.id)
  if (known) return known
  onProgress({ stage: 'Looking at the model', done: 0, total: 0, unit: 'bytes' })
  const record = await inspectModel(hub.source(model, signal), model.id, `${model.owner}/${model.name}`)
  const described = { ...record, addedAt: Date.now(), bytes: model.bytes, description: describe(model) }
  const begun = await bytesOf(model.id)
  await refuseWithoutRoom(model.bytes - begun)
  const counter = new Counter(begun, model.bytes, onProgress)
  const check = (stored: Parameters<typeof verifyFiles>[0]) => {
    counter.stop()
    return verifyFiles(stored, model, (done) =>
      onProgress({ stage: 'Comparing with the hub', done, total: model.bytes, unit: 'bytes' }),
    )
  }
  const source = hub.source(model, signal, (count) => counter.add(count))
  const options = { signal, version: model.commit, origin: request.endpoint, parallel: PARALLEL, check }
  onProgress({ stage: FETCHING, done: begun, total: model.bytes, unit: 'bytes' })
  const stored = await storage.storeModel(described, source, options).finally(() => counter.stop())
  try {
    await checkModel(await modelSource(model.id), { id: model.id, name: record.name, onProgress, signal })
  } catch (error) {
    if (error instanceof CodedError && error.code.startsWith('model.')) await storage.deleteModel(model.id)
    throw error
  }
  return stored
}

/** What a model's small files and headers say about it, or why they do not. */
async function look(hub: Hub, model: HubModel): Promise<Pick<HubListing, 'record' | 'refusal' | 'locked'>> {
  try {
    const record = await inspectModel(hub.source(model), model.id, `${model.owner}/${model.name}`)
    return { record: { ...record, bytes: model.bytes }, refusal: null, locked: null }
  } catch (error) {
    const report: ErrorReport = toReport(error)
    if (report.code === 'hub.access') return { record: null, refusal: null, locked: report }
    if (/^(model|template|file)\./.test(report.code)) return { record: null, refusal: report, locked: null }
    throw error
  }
}

async function bytesOf(id: string): Promise<number> {
  return (await storage.listTransfers()).find((transfer) => transfer.id === id)?.bytes ?? 0
}

async function refuseWithoutRoom(needed: number): Promise<void> {
  const { used, quota } = await storage.storageEstimate()
  if (quota === 0 || needed <= quota - used) return
  const left = size(Math.max(0, quota - used))
  throw new CodedError('storage.full', `There is not enough room: ${size(needed)} are needed, and ${left} are left.`, {
    fix: 'Delete models or runs you no longer need, free space on the disk, or choose a smaller model.',
  })
}

/** Counts what comes and tells it now and then, also what came last before a silence. */
class Counter {
  readonly #tell: () => void
  #done: number
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(begun: number, total: number, onProgress: OnProgress) {
    this.#done = begun
    this.#tell = () => {
      this.#timer = undefined
      onProgress({ stage: FETCHING, done: Math.min(this.#done, total), total, unit: 'bytes' })
    }
  }

  add(count: number): void {
    this.#done += count
    this.#timer ??= setTimeout(this.#tell, TELL_EVERY)
  }

  /** Tells what is left to tell. */
  stop(): void {
    if (this.#timer === undefined) return
    clearTimeout(this.#timer)
    this.#tell()
  }
}

function describe({ licence, commit }: HubModel): string {
  return `From the Hub, revision ${commit.slice(0, 7)}${licence ? `; licence: ${licence}` : ''}.`
}
