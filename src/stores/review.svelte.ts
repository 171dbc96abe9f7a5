/** The audit of the chosen dataset: what it says so far, how far it is. Refuses to hold findings; they stay in the worker. */
import { data } from '../client'
import { toReport, type ErrorReport } from '../shared/errors'
import type { Progress } from '../shared/files'
import type { AuditRequest, AuditSummary } from '../shared/protocol'
import { datasets } from './datasets.svelte'
import { draft } from './draft.svelte'
import { models } from './models.svelte'

class Review {
  #found = $state.raw<{ datasetId: string; summary: AuditSummary } | null>(null)
  /** What was found in the chosen dataset so far: never what another one had, which is on the page until this one's turn. */
  summary = $derived(this.#found?.datasetId === datasets.chosenId ? (this.#found?.summary ?? null) : null)
  progress = $state.raw<Progress | null>(null)
  error = $state.raw<ErrorReport | null>(null)
  /** Whether the person ended it. */
  stopped = $state(false)
  /** Counts what came in, so that rows shown with their findings are shown anew. */
  version = $state(0)
  #key = ''

  /** What a change of the steps needs to know; null without a dataset. */
  anyRequest = $derived.by<AuditRequest | null>(() => {
    const dataset = datasets.chosen
    if (!dataset || !models.loaded) return null
    const { maxLength, trainOn, evalFraction, evalSplit, splitBy, seed, batchSize } = draft.job
    const held = datasets.list.find(({ id }) => id === draft.job.evalData && id !== dataset.id)
    return {
      ...{ evalData: held?.id ?? '', evalRevision: held?.revision ?? '' },
      ...{ datasetId: dataset.id, revision: dataset.revision ?? '', modelId: models.chosen?.id ?? null },
      ...{ maxLength, trainOn, evalFraction, evalSplit, splitBy, seed, batchSize },
    }
  })
  /** What is to be looked through; null until it is known what the rows are. */
  request = $derived(datasets.chosen?.mapping.format === 'unknown' ? null : this.anyRequest)

  /** Looks through the rows anew when what is asked for has changed. */
  async refresh(request: AuditRequest | null): Promise<void> {
    // The batch size only moves the padding; it follows from the rows themselves.
    const key = request ? JSON.stringify({ ...request, batchSize: 0 }) : ''
    if (key === this.#key) return
    this.#key = key
    this.error = null
    this.stopped = false
    if (this.#found?.datasetId !== request?.datasetId) this.#found = null
    if (!request) {
      this.progress = null
      return
    }
    this.progress = { stage: 'Looking through the rows', done: 0, total: 0, unit: 'rows' }
    const take = (summary: AuditSummary) => {
      if (this.#key !== key) return
      this.#found = { datasetId: request.datasetId, summary }
      this.version++
    }
    try {
      take(
        await data().audit(request, take, (progress) => {
          if (this.#key === key) this.progress = progress
        }),
      )
    } catch (error) {
      if (this.#key !== key) return
      const report = toReport(error)
      if (report.code === 'cancelled') this.stopped = true
      else this.error = report
    } finally {
      if (this.#key === key) this.progress = null
    }
  }

  /** Looks through the rows again, after it was ended. */
  again(): void {
    this.#key = ''
    void this.refresh(this.request)
  }

  cancel(): void {
    void data().cancelAudit()
  }
}

export const review = new Review()
