/**
 * The chosen dataset as the chosen model will see it: rows in tokens, statistics, memory. Refuses to hold more rows than
 * the page has asked for.
 */
import { SvelteMap } from 'svelte/reactivity'
import { data, engine } from '../client'
import { toReport, type ErrorReport } from '../shared/errors'
import type { Progress } from '../shared/files'
import type { PreviewRequest, SplitRequest } from '../shared/protocol'
import type { DatasetStats, MemoryForecast, PreviewRow } from '../shared/records'
import { datasets } from './datasets.svelte'
import { device } from './device.svelte'
import { draft } from './draft.svelte'
import { models } from './models.svelte'

/** Rows kept before all are forgotten. */
const KEPT = 1024

interface StatsRequest {
  request: PreviewRequest
  split: SplitRequest
}

class Preview {
  stats = $state.raw<DatasetStats | null>(null)
  counting = $state.raw<Progress | null>(null)
  error = $state.raw<ErrorReport | null>(null)
  #settledKey = $state('')
  forecast = $state.raw<MemoryForecast | null>(null)
  readonly #rows = new SvelteMap<number, PreviewRow>()
  readonly #asked = new Set<number>()
  #key = ''
  #source = ''

  /** What to show; null until a model and a dataset are chosen. */
  request = $derived.by<StatsRequest | null>(() => {
    const dataset = datasets.chosen
    const model = models.chosen
    if (!dataset || !model || dataset.mapping.format === 'unknown') return null
    const { maxLength, trainOn, evalData, evalSplit, splitBy, seed } = draft.job
    // With validation rows of their own, none of these is held back.
    const evalFraction = evalData === '' ? draft.job.evalFraction : 0
    return {
      request: {
        ...{ datasetId: dataset.id, revision: dataset.revision ?? '', mapping: dataset.mapping },
        ...{ modelId: model.id, maxLength, trainOn },
      },
      split: { evalFraction, evalSplit, splitBy, seed },
    }
  })

  /** Whether what is asked for now was counted, whatever came of it. */
  settled = $derived(this.#settledKey === JSON.stringify(this.request))

  /** The length that the memory forecast plans with: the longest row as it will be cut. */
  rowLength = $derived(this.stats ? Math.min(this.stats.lengths.max, draft.job.maxLength) : draft.job.maxLength)

  /** Counts anew when what is asked for has changed; call it whenever {@link request} may have. */
  async refresh(wanted: StatsRequest | null): Promise<void> {
    const key = JSON.stringify(wanted)
    if (key === this.#key) return
    this.#key = key
    const source = wanted ? `${wanted.request.datasetId} ${wanted.request.modelId}` : ''
    if (source !== this.#source) this.stats = draft.facts = null
    this.#source = source
    this.#rows.clear()
    this.#asked.clear()
    this.error = null
    if (!wanted) {
      this.stats = null
      this.#settledKey = key
      return
    }
    this.counting = { stage: 'Counting tokens', done: 0, total: 0, unit: 'rows' }
    try {
      const stats = await data().stats(wanted.request, wanted.split, (progress) => {
        if (this.#key === key) this.counting = progress
      })
      if (this.#key === key) this.stats = draft.facts = stats
    } catch (error) {
      if (this.#key === key) {
        this.error = toReport(error)
        this.stats = null
      }
    } finally {
      if (this.#key === key) {
        this.counting = null
        this.#settledKey = key
      }
    }
  }

  /** A row in tokens if it is here; {@link want} asks for it. */
  row(position: number): PreviewRow | undefined {
    return this.#rows.get(position)
  }

  /** Asks for rows in tokens. */
  async want(positions: readonly number[]): Promise<void> {
    const wanted = this.request
    const missing = positions.filter((position) => position >= 0 && !this.#asked.has(position))
    if (!wanted || missing.length === 0) return
    if (this.#rows.size > KEPT) {
      this.#rows.clear()
      this.#asked.clear()
    }
    for (const position of missing) this.#asked.add(position)
    const key = this.#key
    try {
      const rows = await data().preview(wanted.request, missing)
      if (this.#key === key) for (const row of rows) this.#rows.set(row.index, row)
    } catch (error) {
      if (this.#key === key) this.error = toReport(error)
    }
  }

  /** How badly the chosen model, as it is, expects each token of a row. */
  losses(row: PreviewRow): Promise<Float32Array> {
    return engine().tokenLosses(
      models.chosenId,
      row.tokens.map(({ id }) => id),
    )
  }

  /** Predicts the memory of the draft job on the open device, and of the batches that may be advised. */
  async plan(): Promise<void> {
    const { job } = draft
    // Without the lengths of the rows it would be a number that is taken back at once.
    if (this.request && !this.stats && !this.settled) return
    if (!models.chosen || !device.report || Object.keys(draft.problems).length > 0) {
      this.forecast = null
      return
    }
    try {
      const plain = $state.snapshot(job) as typeof job
      this.forecast = await engine().forecast(plain, this.rowLength)
      const memory = await engine().batchShares(plain, this.rowLength)
      // Advice follows from it, and a new job from that: only what is new may set it off.
      if (memory.join() !== draft.memory.join()) draft.memory = memory
    } catch {
      this.forecast = null
    }
  }
}

export const preview = new Preview()
