/** Variations of a row by a model: asked for, looked at, accepted one by one. Refuses to accept any by itself. */
import { data, engine } from '../client'
import { toReport, type ErrorReport } from '../shared/errors'
import type { Progress } from '../shared/files'
import type { RowSides, VariationKind } from '../shared/protocol'
import type { RunRecord } from '../shared/records'
import { changes } from './changes.svelte'
import { datasets } from './datasets.svelte'
import { models } from './models.svelte'
import { hasAdapter, runs } from './runs.svelte'

/** Parameters below which a model seldom writes a row that is worth learning from. */
const SMALL = 5e8

/** One that the model wrote, as the person has it by now. */
interface Proposal extends RowSides {
  key: number
  kind: VariationKind
  state: 'open' | 'accepted'
}

class Variations {
  kind = $state<VariationKind>('prompt')
  count = $state(5)
  temperature = $state(0.8)
  /** The run whose adapter writes; empty for the chosen model as it is. */
  runId = $state('')
  own = $state.raw<RowSides | null>(null)
  proposals = $state<Proposal[]>([])
  /** Reason → how many were thrown away for it. */
  refused = $state<Record<string, number>>({})
  busy = $state.raw<Progress | null>(null)
  error = $state.raw<ErrorReport | null>(null)
  #position = -1
  #number = -1
  #seed = 1
  #key = 0

  /** Runs whose adapter fits the chosen model. */
  writers = $derived<readonly RunRecord[]>(
    runs.list.filter((run) => hasAdapter(run) && run.model.id === models.chosenId),
  )
  run = $derived(this.writers.find(({ id }) => id === this.runId) ?? null)
  small = $derived((models.chosen?.parameters ?? 0) < SMALL)
  accepted = $derived(this.proposals.filter(({ state }) => state === 'accepted').length)

  /** Begins with a row of the chosen dataset. @param number its number in the file. */
  async open(position: number, number: number): Promise<void> {
    this.#position = position
    this.#number = number
    this.proposals = []
    this.refused = {}
    this.own = null
    this.error = null
    try {
      this.own = await data().rowSides(datasets.chosenId, position)
      if (this.own.prompt === null) this.kind = 'both'
    } catch (error) {
      this.error = toReport(error)
    }
  }

  /** Asks the model for more of them. */
  async write(): Promise<void> {
    const model = models.chosen
    if (!model || this.busy) return
    this.error = null
    this.refused = {}
    this.busy = { stage: 'Loading the model', done: 0, total: 0, unit: 'items' }
    const { kind, count, temperature, run } = this
    const request = { kind, count, temperature, modelId: model.id, runId: run?.id ?? null, checkpoint: 'best' as const }
    const place = { datasetId: datasets.chosenId, position: this.#position, seed: this.#seed }
    this.#seed += count
    try {
      await engine().vary(
        { ...request, ...place },
        (variation) => {
          if ('refused' in variation)
            this.refused = { ...this.refused, [variation.refused]: (this.refused[variation.refused] ?? 0) + 1 }
          else this.proposals.push({ ...variation, kind, key: this.#key++, state: 'open' })
        },
        (progress) => (this.busy = progress),
      )
    } catch (error) {
      const report = toReport(error)
      if (report.code !== 'cancelled') this.error = report
    } finally {
      this.busy = null
    }
  }

  cancel(): void {
    void engine().cancelGenerate()
  }

  discard(key: number): void {
    this.proposals = this.proposals.filter((proposal) => proposal.key !== key)
  }

  /** Puts one, as it is edited, at the end of the dataset. */
  async accept(proposal: Proposal): Promise<void> {
    const model = this.run?.name ?? models.chosen?.name ?? ''
    const sides = { prompt: proposal.prompt, answer: proposal.answer }
    try {
      const row = await data().variedRow(datasets.chosenId, this.#position, sides)
      const step = { kind: 'add-rows' as const, rows: [row], origin: { model, row: this.#number } }
      if (await changes.add([step], 'Variation accepted.')) proposal.state = 'accepted'
    } catch (error) {
      this.error = toReport(error)
    }
  }
}

export const variations = new Variations()
