/** A model from a hub through the real worker: fetched by ranges into OPFS, paused, gone on with, checked, loaded. */
import { afterAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { engine, terminateEngine } from '../../src/client'
import { defaultJob } from '../../src/shared/job'
import { DEFAULT_SAMPLING, FETCHING, type HubRequest } from '../../src/shared/protocol'
import * as storage from '../../src/storage'
import type { HubServer, Trouble } from '../support/hub-server'

const endpoint = inject('hub')
const request = (change: Partial<HubRequest> = {}): HubRequest => ({ name: 'me/tiny', endpoint, token: '', ...change })
const steer = (state: Partial<HubServer>) => fetch(`${endpoint}/steer`, { method: 'POST', body: JSON.stringify(state) })
const asked = async () => (await (await fetch(`${endpoint}/asked`)).json()) as HubServer['asked']
const fetchIt = (change: Partial<HubRequest> = {}) => engine().fetchHubModel(request(change), () => {})

/** The weights, as opposed to their header and the small files, which are read before. */
const WEIGHTS = { file: 'model.safetensors', least: 50_000 }
const many = (trouble: Trouble, times = 99): Trouble[] => Array.from({ length: times }, () => trouble)
const nothingStored = async () => (await storage.listModels()).every(({ id }) => !id.startsWith('hub:'))

beforeEach(async () => {
  await steer({ troubles: [], gated: false, replaced: {} })
  await engine().openDevice('wasm')
  for (const { id } of [...(await storage.listModels()), ...(await storage.listTransfers())]) {
    if (id.startsWith('hub:')) await engine().deleteModel(id)
  }
})
afterAll(() => terminateEngine())

describe('a model on a hub', () => {
  it('is described before any of its weights are fetched', async () => {
    const listing = await engine().findHubModel(request())
    expect(listing).toMatchObject({ owner: 'me', name: 'tiny', licence: 'mit', stored: false, transferred: 0 })
    expect(listing).toMatchObject({ page: `${endpoint}/me/tiny`, refusal: null, locked: null })
    expect(listing.record).toMatchObject({ family: 'llama', layers: 2, bytes: listing.bytes })
    const spans = (await asked())
      .filter(({ path }) => path.includes('model.safetensors'))
      .map(({ range }) => /bytes=(\d+)-(\d+)/.exec(range))
    expect(spans.length).toBeGreaterThan(0)
    for (const span of spans) expect(Number(span?.[2]) - Number(span?.[1])).toBeLessThan(WEIGHTS.least)
    const own = await engine().forecast({ ...defaultJob(), model: 'nowhere' }, 64, listing.record ?? undefined)
    expect(own.weights).toBeGreaterThan(4 * (listing.record?.parameters ?? Infinity))
  })

  it('is fetched, checked, kept and loaded', async () => {
    const listing = await engine().findHubModel(request())
    const stages = new Set<string>()
    let fetched = 0
    const record = await engine().fetchHubModel(request(), ({ stage, done }) => {
      stages.add(stage)
      if (stage === FETCHING) fetched = done
    })
    expect(record).toMatchObject({ id: listing.id, name: 'me/tiny', family: 'llama', bytes: listing.bytes })
    expect(record.description).toContain('licence: mit')
    expect(stages).toContain('Comparing with the hub')
    expect(fetched).toBe(listing.bytes)
    expect(await engine().findHubModel(request())).toMatchObject({ stored: true, record: { id: listing.id } })

    await steer({})
    terminateEngine()
    await engine().openDevice('wasm')
    const sampling = { ...DEFAULT_SAMPLING, temperature: 0, maxNewTokens: 4 }
    const ask = { ...sampling, modelId: record.id, runId: null, checkpoint: 'last' as const, strength: 1, prompt: 'a' }
    expect((await engine().generate(ask, () => {})).ids.length).toBeGreaterThan(0)
    expect(await asked()).toEqual([])
  })

  it('pauses while bytes are on their way, survives the worker, and goes on with the rest only', async () => {
    const { id, bytes } = await engine().findHubModel(request())
    await steer({ troubles: many({ kind: 'stall', after: 1000, only: WEIGHTS }) })
    let paused: Promise<void> | null = null
    const fetching = engine().fetchHubModel(request(), ({ stage, done }) => {
      // All but the weights are in by then, or under way.
      if (stage === FETCHING && done > 3000) paused ??= engine().pauseFetch()
    })
    await expect(fetching).rejects.toMatchObject({ code: 'cancelled' })
    expect(paused).not.toBeNull()
    const [begun] = await storage.listTransfers()
    expect(begun).toMatchObject({ id, total: bytes, origin: endpoint })
    expect(await nothingStored()).toBe(true)

    terminateEngine()
    await engine().openDevice('wasm')
    await steer({ troubles: [] })
    const found = await engine().findHubModel(request())
    expect(found.transferred).toBe(begun?.bytes)
    const told: number[] = []
    await engine().fetchHubModel(request(), ({ stage, done }) => stage === FETCHING && told.push(done))
    expect([told[0], told.at(-1)]).toEqual([found.transferred, bytes])
    expect(await storage.listTransfers()).toEqual([])
    expect((await storage.getModel(id))?.id).toBe(id)
  })

  it('that is paused can be deleted with all that came', async () => {
    const { id } = await engine().findHubModel(request())
    await steer({ troubles: many({ kind: 'stall', after: 10, only: WEIGHTS }) })
    let paused: Promise<void> | null = null
    const fetching = engine().fetchHubModel(request(), ({ stage, done }) => {
      if (stage === FETCHING && done > 3000) paused ??= engine().pauseFetch()
    })
    await expect(fetching).rejects.toMatchObject({ code: 'cancelled' })
    await engine().deleteModel(id)
    expect(await storage.listTransfers()).toEqual([])
    expect(await engine().findHubModel(request())).toMatchObject({ transferred: 0, stored: false })
  })

  it('shows its token to the hub alone, also when Chromium follows redirects', async () => {
    await steer({ gated: true })
    const locked = await engine().findHubModel(request())
    expect(locked).toMatchObject({ gated: true, record: null, refusal: null, locked: { code: 'hub.access' } })
    await expect(fetchIt()).rejects.toMatchObject({ code: 'hub.access', fix: expect.stringContaining('token') })
    await expect(fetchIt({ token: 'hf_wrong' })).rejects.toMatchObject({ code: 'hub.access' })
    await steer({ gated: true })
    const token = 'hf_secret'
    expect(await engine().findHubModel(request({ token }))).toMatchObject({ locked: null, record: { layers: 2 } })
    await fetchIt({ token })
    const seen = await asked()
    expect(seen.some(({ host, authorization }) => host === 'hub' && authorization === 'Bearer hf_secret')).toBe(true)
    const elsewhere = seen.filter(({ host }) => host === 'store')
    expect(elsewhere.length).toBeGreaterThan(0)
    expect(elsewhere.every(({ authorization }) => authorization === '')).toBe(true)
  })

  it('of a family that is not known is refused before its weights are fetched, naming the nearest', async () => {
    await steer({ replaced: { 'config.json': '{"model_type":"qwen3_moe"}' } })
    const listing = await engine().findHubModel(request())
    expect(listing).toMatchObject({ record: null, locked: null })
    expect(listing.refusal).toMatchObject({
      code: 'model.unsupported',
      fix: expect.stringMatching(/Nearest supported: qwen3/),
    })
    await expect(fetchIt()).rejects.toMatchObject({ code: 'model.unsupported' })
    expect((await asked()).every(({ path }) => !path.includes('model.safetensors'))).toBe(true)
    expect(await storage.listTransfers()).toEqual([])
  })

  it('without safetensors, or that is not there, leaves nothing', async () => {
    await steer({ replaced: { 'model.safetensors': null } })
    await expect(engine().findHubModel(request())).rejects.toMatchObject({ code: 'model.config' })
    await steer({ replaced: {} })
    await expect(engine().findHubModel(request({ name: 'me/none' }))).rejects.toMatchObject({ code: 'hub.request' })
    await expect(engine().findHubModel(request({ name: 'nonsense' }))).rejects.toMatchObject({ code: 'hub.request' })
    await expect(engine().findHubModel(request({ endpoint: 'nonsense' }))).rejects.toMatchObject({ code: 'usage' })
    expect(await nothingStored()).toBe(true)
    expect(await storage.listTransfers()).toEqual([])
  })
})

describe('trouble on the way', () => {
  it.each<[string, Trouble]>([
    ['an overloaded server', { kind: 'status', status: 503 }],
    ['a request for patience', { kind: 'status', status: 429, retryAfter: 0 }],
    ['a connection that breaks', { kind: 'break', after: 30_000 }],
    ['an answer that is cut short', { kind: 'short', after: 30_000 }],
    ['a server without ranges', { kind: 'whole' }],
  ])('is sat out: %s', async (_, trouble) => {
    await steer({ troubles: [{ ...trouble, only: WEIGHTS }] })
    expect(await fetchIt()).toMatchObject({ name: 'me/tiny' })
    expect(await storage.listTransfers()).toEqual([])
  })

  it.each<[string, Trouble, string]>([
    ['a refusal', { kind: 'status', status: 403, code: 'GatedRepo' }, 'hub.access'],
    ['a file that is gone', { kind: 'status', status: 404 }, 'hub.request'],
    ['another part of the file', { kind: 'shifted' }, 'hub.request'],
  ])('that stays is told, and what came is kept: %s', async (_, trouble, code) => {
    const { id } = await engine().findHubModel(request())
    await steer({ troubles: many({ ...trouble, only: WEIGHTS }) })
    await expect(fetchIt()).rejects.toMatchObject({ code, fix: expect.stringMatching(/\w/) })
    expect(await nothingStored()).toBe(true)
    expect((await storage.listTransfers()).map((transfer) => transfer.id)).toEqual([id])
    await steer({ troubles: [] })
    expect(await fetchIt()).toMatchObject({ id })
  })

  it('that never ends is given up after a few tries', async () => {
    await steer({ troubles: many({ kind: 'status', status: 502, only: WEIGHTS }) })
    await expect(fetchIt()).rejects.toMatchObject({ code: 'hub.request', what: expect.stringContaining('502') })
    const tries = (await asked()).filter(({ host, range }) => host === 'store' && /-\d{5}$/.test(range))
    expect(tries.length).toBe(5)
  })
})
