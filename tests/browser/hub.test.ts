/** A model from a hub through the real worker: fetched by ranges into OPFS, paused, gone on with, checked, loaded. */
import { afterAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { engine, terminateEngine } from '../../src/client'
import type { HubRequest } from '../../src/shared/protocol'
import * as storage from '../../src/storage'
import { DEFAULT_SAMPLING } from '../../src/shared/protocol'
import type { HubServer } from '../support/hub-server'

const endpoint = inject('hub')
const request = (change: Partial<HubRequest> = {}): HubRequest => ({ name: 'me/tiny', endpoint, token: '', ...change })
const steer = (state: Partial<HubServer>) => fetch(`${endpoint}/steer`, { method: 'POST', body: JSON.stringify(state) })
const asked = async () => (await (await fetch(`${endpoint}/asked`)).json()) as HubServer['asked']

beforeEach(async () => {
  await steer({ troubles: [], gated: false })
  for (const { id } of [...(await storage.listModels()), ...(await storage.listTransfers())]) {
    if (id.startsWith('hub:')) await engine().deleteModel(id)
  }
})
afterAll(() => terminateEngine())

describe('a model on a hub', () => {
  it('is fetched, checked, kept and loaded', async () => {
    await engine().openDevice('wasm')
    const listing = await engine().findHubModel(request())
    expect(listing).toMatchObject({ owner: 'me', name: 'tiny', licence: 'mit', stored: false, transferred: 0 })
    const stages = new Set<string>()
    const record = await engine().fetchHubModel(request(), ({ stage }) => stages.add(stage))
    expect(record).toMatchObject({ id: listing.id, name: 'me/tiny', family: 'llama', bytes: listing.bytes })
    expect(record.description).toContain('licence: mit')
    expect(stages).toContain('Comparing with the hub')
    expect(await engine().findHubModel(request())).toMatchObject({ stored: true })

    await steer({})
    terminateEngine()
    await engine().openDevice('wasm')
    const sampling = { ...DEFAULT_SAMPLING, temperature: 0, maxNewTokens: 4 }
    const ask = { ...sampling, modelId: record.id, runId: null, checkpoint: 'last' as const, strength: 1, prompt: 'a' }
    expect((await engine().generate(ask, () => {})).ids.length).toBeGreaterThan(0)
    expect(await asked()).toEqual([])
  })

  it('goes on where it was interrupted', async () => {
    await steer({ troubles: Array.from({ length: 99 }, () => ({ kind: 'status' as const, status: 403 })) })
    await expect(engine().fetchHubModel(request(), () => {})).rejects.toMatchObject({ code: 'hub.request' })
    expect(await storage.listTransfers()).toEqual([])

    await steer({ troubles: [] })
    let paused = false
    const fetching = engine().fetchHubModel(request(), ({ stage }) => {
      if (paused || !stage.startsWith('Storing')) return
      paused = true
      void steer({ troubles: [{ kind: 'stall', after: 10 }] }).then(() => engine().pauseFetch())
    })
    const ended = await fetching.then(
      () => 'whole',
      (error: { code: string }) => error.code,
    )
    // A model as tiny as this may be in before the pause is heard.
    expect(['whole', 'cancelled']).toContain(ended)
    await steer({ troubles: [] })
    const { id, transferred } = await engine().findHubModel(request())
    if (ended === 'cancelled') expect(transferred).toBeGreaterThan(0)
    await engine().fetchHubModel(request(), () => {})
    expect((await storage.getModel(id))?.id).toBe(id)
    expect(await storage.listTransfers()).toEqual([])
  })

  it('shows its token to the hub alone, also when Chromium follows redirects', async () => {
    await steer({ gated: true })
    await expect(engine().fetchHubModel(request(), () => {})).rejects.toMatchObject({
      code: 'hub.request',
      fix: expect.stringContaining('token'),
    })
    await steer({ gated: true })
    await engine().fetchHubModel(request({ token: 'hf_secret' }), () => {})
    const seen = await asked()
    expect(seen.some(({ host, authorization }) => host === 'hub' && authorization === 'Bearer hf_secret')).toBe(true)
    const elsewhere = seen.filter(({ host }) => host === 'store')
    expect(elsewhere.length).toBeGreaterThan(0)
    expect(elsewhere.every(({ authorization }) => authorization === '')).toBe(true)
  })

  it('that is not there, or of no known family, leaves nothing', async () => {
    await expect(engine().findHubModel(request({ name: 'me/none' }))).rejects.toMatchObject({ code: 'hub.request' })
    await expect(engine().findHubModel(request({ name: 'nonsense' }))).rejects.toMatchObject({ code: 'hub.request' })
    await steer({ troubles: [{ kind: 'shifted' }] })
    await expect(engine().fetchHubModel(request(), () => {})).rejects.toMatchObject({ code: 'hub.request' })
    expect((await storage.listModels()).some(({ id }) => id.startsWith('hub:'))).toBe(false)
  })
})
