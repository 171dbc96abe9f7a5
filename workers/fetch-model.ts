/**
 * A model from a hub: looked up, inspected before anything large is fetched, stored part by part, compared, listed.
 * Refuses to keep a token.
 */
import { inspectModel } from '../src/engine'
import { Hub, HUGGING_FACE, verifyFiles, type HubModel } from '../src/hub'
import { CodedError } from '../src/shared/errors'
import type { OnProgress } from '../src/shared/files'
import type { HubListing, HubRequest } from '../src/shared/protocol'
import type { ModelRecord } from '../src/shared/records'
import * as storage from '../src/storage'
import type { Workshop } from './workshop'

/** Ranged reads under way at once. */
const PARALLEL = 4

const open = ({ endpoint, token }: HubRequest) => new Hub({ endpoint: endpoint || HUGGING_FACE, token })

/** See EngineApi.findHubModel. */
export async function findModel(request: HubRequest): Promise<HubListing> {
  const { id, owner, name, commit, licence, gated, bytes } = await open(request).find(request.name)
  const stored = (await storage.getModel(id)) !== null
  const begun = (await storage.listTransfers()).find((transfer) => transfer.id === id)
  return { id, owner, name, commit, licence, gated, bytes, stored, transferred: begun?.bytes ?? 0 }
}

/** See EngineApi.fetchHubModel. */
export async function fetchModel(
  workshop: Workshop,
  request: HubRequest,
  onProgress: OnProgress,
  signal: AbortSignal,
): Promise<ModelRecord> {
  const hub = open(request)
  const model = await hub.find(request.name, signal)
  const known = await storage.getModel(model.id)
  if (known) return known
  const source = hub.source(model, signal)
  onProgress({ stage: 'Looking at the model', done: 0, total: 0, unit: 'bytes' })
  const record = await inspectModel(source, model.id, `${model.owner}/${model.name}`)
  const described = { ...record, addedAt: Date.now(), bytes: model.bytes, description: describe(model) }
  const check = (stored: Parameters<typeof verifyFiles>[0]) =>
    verifyFiles(stored, model, (done) =>
      onProgress({ stage: 'Comparing with the hub', done, total: model.bytes, unit: 'bytes' }),
    )
  const options = { onProgress, signal, version: model.commit, parallel: PARALLEL, check }
  const stored = await storage.storeModel(described, source, options)
  try {
    // Only loading sees every number.
    await workshop.withModel(model.id, onProgress, async () => {})
  } catch (error) {
    if (error instanceof CodedError && error.code.startsWith('model.')) await storage.deleteModel(model.id)
    throw error
  }
  return stored
}

function describe({ licence, commit }: HubModel): string {
  return `From the Hub, revision ${commit.slice(0, 7)}${licence ? `; licence: ${licence}` : ''}.`
}
