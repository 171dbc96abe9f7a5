/** The table of rows: which ones it shows, in which order, and those that are in view. Refuses to hold more than was asked for. */
import { SvelteMap } from 'svelte/reactivity'
import { data } from '../client'
import type { FindingKind } from '../shared/audit'
import type { Progress } from '../shared/files'
import type { RowExport, RowExportResult, RowQuery, TableRow } from '../shared/protocol'
import { datasets } from './datasets.svelte'
import { notices } from './notices.svelte'
import { review } from './review.svelte'

/** Rows asked for at once. */
const PAGE = 32
/** Rows kept before all are forgotten: a person who scrolls through a million does not need the first ones. */
const KEPT = 4096

class Table {
  search = $state('')
  finding = $state<FindingKind | null>(null)
  order = $state<RowQuery['order']>('file')
  /** Positions of the rows shown; null for all. */
  positions = $state.raw<Uint32Array | null>(null)
  busy = $state.raw<Progress | null>(null)
  count = $derived(this.positions ? this.positions.length : (datasets.chosen?.rows ?? 0))
  /** Counts how often what is shown became another, so that the rows in view are asked for again. */
  version = $state(0)
  readonly #rows = new SvelteMap<number, TableRow>()
  readonly #asked = new Set<number>()
  #key = ''
  #id = ''

  /** What the table shows; changes of the rows, and of what an audit found, count too. */
  request = $derived.by(() => {
    const dataset = datasets.chosen
    if (!dataset) return null
    const { search, finding, order } = this
    const query: RowQuery = { datasetId: dataset.id, search, finding, order }
    return { query, state: `${dataset.revision ?? ''} ${JSON.stringify(dataset.mapping)} ${review.version}` }
  })

  async refresh(request: { query: RowQuery; state: string } | null): Promise<void> {
    const key = JSON.stringify(request)
    if (key === this.#key) return
    this.#key = key
    const id = request?.query.datasetId ?? ''
    if (id !== this.#id) {
      this.#id = id
      this.positions = null
      if (this.search || this.finding || this.order !== 'file') {
        this.all()
        return
      }
    }
    if (!request) return
    this.busy = { stage: 'Searching', done: 0, total: 0, unit: 'rows' }
    try {
      const positions = await data().query(request.query, (progress) => {
        if (this.#key === key) this.busy = progress
      })
      if (this.#key !== key) return
      this.positions = positions
      this.#rows.clear()
      this.#asked.clear()
      this.version++
    } catch (error) {
      if (this.#key === key) notices.fail(error)
    } finally {
      if (this.#key === key) this.busy = null
    }
  }

  /** Shows all rows in the order of the file. */
  all(): void {
    this.search = ''
    this.finding = null
    this.order = 'file'
  }

  /** Position in the dataset of the row at a place in the table. */
  positionAt(place: number): number {
    return this.positions ? (this.positions[place] ?? -1) : place
  }

  /** A row if it is here; else it is asked for, with its neighbours, and comes later. */
  row(place: number): TableRow | undefined {
    return this.#rows.get(place)
  }

  /** A row of the chosen dataset as it is, to be edited. */
  whole(position: number): Promise<Record<string, unknown>> {
    return data().wholeRow(datasets.chosenId, position)
  }

  /** All rows of the chosen dataset, as they are after the steps, as a file. */
  write(request: RowExport, onProgress: (progress: Progress) => void): Promise<RowExportResult> {
    return data().exportRows(datasets.chosenId, request, onProgress)
  }

  /** Asks for the rows around a place. */
  async want(place: number): Promise<void> {
    const page = Math.floor(place / PAGE)
    const id = datasets.chosen?.id
    if (!id || this.#asked.has(page)) return
    if (this.#rows.size > KEPT) {
      this.#rows.clear()
      this.#asked.clear()
    }
    this.#asked.add(page)
    const key = this.#key
    const places = Array.from({ length: PAGE }, (_, i) => page * PAGE + i).filter((at) => at < this.count)
    try {
      const rows = await data().tableRows(
        id,
        places.map((at) => this.positionAt(at)),
      )
      if (this.#key === key) rows.forEach((row, i) => this.#rows.set(places[i] as number, row))
    } catch (error) {
      if (this.#key === key) notices.fail(error)
    }
  }
}

export const table = new Table()
