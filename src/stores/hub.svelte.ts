/**
 * A model hub as the page sees it: where it is, the token for it, what was looked up there and what is on its way from
 * there. Refuses to keep a token beyond the visit unless the person says so, and to show one endpoint's token to another.
 */
import { engine } from '../client'
import { toReport, type ErrorReport } from '../shared/errors'
import type { Progress } from '../shared/files'
import { HUB_MODELS } from '../shared/hub-models'
import { FETCHING, type HubListing, type HubRequest } from '../shared/protocol'
import type { MemoryForecast, ModelFacts, ModelRecord } from '../shared/records'
import { getSetting, listTransfers, setSetting, type PendingTransfer } from '../storage'
import { device } from './device.svelte'
import { draft } from './draft.svelte'
import { models } from './models.svelte'
import { notices } from './notices.svelte'
import { preview } from './preview.svelte'

const HUGGING_FACE = 'https://huggingface.co'
/** ms over which the speed of a transfer is taken. */
const WINDOW = 10_000

/** What a forecast needs; published files tell by their size whether they are 32-bit. */
function factsOf({ shape, parameters, bytes }: Pick<ModelRecord, 'shape' | 'parameters' | 'bytes'>): ModelFacts {
  return { shape, parameters, dtype: bytes > 3 * parameters ? 'F32' : 'BF16' }
}

class HubStore {
  /** What the person typed. */
  name = $state('')
  /** Empty for Hugging Face. */
  endpoint = $state('')
  /** For this endpoint only. */
  token = $state('')
  remember = $state(false)
  looking = $state(false)
  listing = $state.raw<HubListing | null>(null)
  error = $state.raw<ErrorReport | null>(null)
  /** The transfer under way. */
  fetching = $state.raw<{ id: string; name: string } | null>(null)
  progress = $state.raw<Progress | null>(null)
  asked = $state<'pause' | 'cancel' | null>(null)
  /** Bytes a second, and seconds; NaN until it is known. */
  speed = $state(Number.NaN)
  secondsLeft = $derived(this.progress ? (this.progress.total - this.progress.done) / this.speed : Number.NaN)
  /** Transfers that were interrupted. */
  pending = $state.raw<readonly PendingTransfer[]>([])
  /** Whether the job as it stands fits this device, by model: the one looked up and those of the list. */
  forecasts = $state.raw<ReadonlyMap<string, MemoryForecast>>(new Map())
  readonly #tokens = new Map<string, string>()
  #seen: { time: number; done: number }[] = []
  #lookups = 0
  #opened: Promise<void> | null = null

  /** Whether bytes are on their way, so that it can be paused. */
  pausable = $derived(this.progress?.stage === FETCHING && this.asked === null)

  /** Reads what was kept of earlier visits, once. */
  open(): Promise<void> {
    return (this.#opened ??= this.#open())
  }

  async #open(): Promise<void> {
    this.endpoint = (await getSetting<string>('hub endpoint').catch(() => '')) ?? ''
    await this.#takeToken()
    await this.refresh()
  }

  /** Reads which transfers were interrupted. */
  async refresh(): Promise<void> {
    this.pending = await listTransfers().catch(() => [])
  }

  /** Goes to another endpoint; empty for Hugging Face. */
  async useEndpoint(endpoint: string): Promise<void> {
    this.endpoint = endpoint.trim()
    this.listing = null
    this.error = null
    await setSetting('hub endpoint', this.endpoint || undefined)
    await this.#takeToken()
  }

  /** Takes a token for the endpoint, and keeps it beyond this visit only if that is wanted. */
  async useToken(token: string, remember = this.remember): Promise<void> {
    this.token = token.trim()
    this.remember = remember
    this.#tokens.set(this.#origin, this.token)
    await setSetting(`hub token ${this.#origin}`, remember && this.token ? this.token : undefined)
  }

  async #takeToken(): Promise<void> {
    const kept = await getSetting<string>(`hub token ${this.#origin}`).catch(() => undefined)
    this.remember = kept !== undefined
    this.token = this.#tokens.get(this.#origin) ?? kept ?? ''
  }

  /** The host that is asked, for a person. */
  get host(): string {
    return this.#origin.replace(/^https?:\/\//, '')
  }

  /** Where a person makes a token. */
  get tokensPage(): string {
    return `${this.#origin}/settings/tokens`
  }

  get #origin(): string {
    const address = this.endpoint || HUGGING_FACE
    return URL.canParse(address) ? new URL(address).origin : address
  }

  /** Looks up what was typed, or another name. */
  async look(name = this.name): Promise<void> {
    this.name = name
    this.listing = null
    this.error = null
    models.error = null
    if (name.trim() === '') return
    const lookup = ++this.#lookups
    this.looking = true
    try {
      const listing = await engine().findHubModel(this.#request(name))
      if (lookup === this.#lookups) this.listing = listing
    } catch (error) {
      if (lookup === this.#lookups) this.error = toReport(error)
    } finally {
      if (lookup === this.#lookups) this.looking = false
    }
  }

  /** Puts away what was looked up. */
  close(): void {
    this.#lookups++
    this.looking = false
    this.listing = null
    this.error = null
    this.name = ''
  }

  /** Fetches what was looked up. */
  async fetch(): Promise<void> {
    const { listing } = this
    if (listing) await this.#fetch(listing.id, this.#request(nameOf(listing.id)))
  }

  /** Goes on with a transfer that was interrupted, from where it was begun. */
  async resume({ id, origin }: PendingTransfer): Promise<void> {
    if (origin !== this.endpoint) await this.useEndpoint(origin)
    await this.#fetch(id, this.#request(nameOf(id)))
  }

  /** Ends the transfer; what came is kept. */
  async pause(): Promise<void> {
    this.asked = 'pause'
    await engine().pauseFetch()
  }

  /** Ends the transfer and deletes what came. */
  async cancel(): Promise<void> {
    this.asked = 'cancel'
    await engine().pauseFetch()
  }

  /** Deletes what came of an interrupted transfer. */
  async forget(id: string): Promise<void> {
    await engine()
      .deleteModel(id)
      .finally(() => this.refresh())
    if (this.listing?.id === id) this.listing = { ...this.listing, transferred: 0 }
    void device.measureRoom()
  }

  /** Predicts for the models that are shown whether the job as it stands fits. */
  async plan(): Promise<void> {
    if (!device.report || Object.keys(draft.problems).length > 0) return
    const job = $state.snapshot(draft.job) as typeof draft.job
    const length = preview.rowLength
    const { id = '', record } = this.listing ?? {}
    const shown = [...HUB_MODELS, ...(record ? [{ ...record, name: id }] : [])]
    const forecasts = await Promise.all(
      shown.map(async (model) => [model.name, await engine().forecast(job, length, factsOf(model))] as const),
    ).catch(() => [])
    this.forecasts = new Map(forecasts)
  }

  async #fetch(id: string, request: HubRequest): Promise<void> {
    if (this.fetching) return
    this.error = null
    this.listing = null
    models.error = null
    this.fetching = { id, name: nameOf(id).replace(/@.*/, '') }
    this.progress = { stage: 'Asking the hub', done: 0, total: 0, unit: 'bytes' }
    this.#seen = []
    this.speed = Number.NaN
    try {
      const model = await engine().fetchHubModel(request, (progress) => this.#on(progress))
      this.close()
      models.choose(model.id)
      notices.say(`${model.name} is here and chosen.`)
      void device.keep()
    } catch (error) {
      const report = toReport(error)
      if (report.code !== 'cancelled') this.error = report
    } finally {
      const deleting = this.asked === 'cancel'
      this.fetching = null
      this.progress = null
      this.asked = null
      // Also after a failure: a model that is stored but could not be loaded is here all the same.
      await models.refresh()
      await this.refresh()
      if (deleting && this.pending.some((transfer) => transfer.id === id)) await this.forget(id)
      void device.measureRoom()
    }
  }

  #on(progress: Progress): void {
    this.progress = progress
    if (progress.stage !== FETCHING) return
    const time = performance.now()
    this.#seen = [...this.#seen.filter((seen) => time - seen.time < WINDOW), { time, done: progress.done }]
    const [first] = this.#seen
    if (first && time - first.time > 500) this.speed = (1000 * (progress.done - first.done)) / (time - first.time)
  }

  #request(name: string): HubRequest {
    return { name, endpoint: this.endpoint, token: this.token }
  }
}

/** `owner/name@commit` of a model's id. */
export function nameOf(id: string): string {
  return id.replace(/^hub:/, '')
}

export const hub = new HubStore()
