/** The datasets that are here, the one that is chosen, and what adding one is doing. Refuses to hold rows. */
import { data } from '../client'
import { toReport, type ErrorReport } from '../shared/errors'
import type { Progress } from '../shared/files'
import type { DataSource } from '../shared/protocol'
import type { DatasetId, DatasetRecord, RowProblem } from '../shared/records'
import { device } from './device.svelte'
import { readPreference, writePreference } from './preferences'

function nameOf(source: DataSource): string {
  if (Array.isArray(source)) return source.map((file) => file.name).join(', ')
  return 'address' in source ? (source.address.split(/[/?#]/).filter(Boolean).at(-1) ?? '') : source.name
}

class Datasets {
  list = $state.raw<readonly DatasetRecord[]>([])
  loaded = $state(false)
  chosenId = $state<DatasetId>(readPreference('data', ''))
  chosen = $derived(this.list.find((dataset) => dataset.id === this.chosenId) ?? null)
  samples = $derived(this.list.filter((dataset) => dataset.id.startsWith('sample:')))
  own = $derived(this.list.filter((dataset) => !dataset.id.startsWith('sample:')))
  importing = $state.raw<(Progress & { name: string }) | null>(null)
  error = $state.raw<ErrorReport | null>(null)

  async refresh(): Promise<void> {
    try {
      this.list = await data().listDatasets()
    } catch (error) {
      this.error = toReport(error)
    } finally {
      this.loaded = true
    }
  }

  choose(id: DatasetId): void {
    this.error = null
    this.chosenId = id
    writePreference('data', id)
  }

  /** Reads files as one dataset, or pasted text, or the file at an address; keeps and chooses it. True if it is here now. */
  async add(source: DataSource): Promise<boolean> {
    this.error = null
    const name = nameOf(source)
    this.importing = { name, stage: 'Reading', done: 0, total: 0, unit: 'bytes' }
    try {
      const dataset = await data().importDataset(source, (progress) => {
        if (this.importing) this.importing = { ...progress, name }
      })
      await this.refresh()
      this.choose(dataset.id)
      void device.measureRoom()
      void device.keep()
      return true
    } catch (error) {
      const report = toReport(error)
      if (report.code !== 'cancelled') this.error = report
      return false
    } finally {
      this.importing = null
    }
  }

  async cancel(): Promise<void> {
    await data().cancelImport()
  }

  async rename(id: DatasetId, name: string): Promise<void> {
    await data().renameDataset(id, name)
    await this.refresh()
  }

  async remove(id: DatasetId): Promise<void> {
    await data().deleteDataset(id)
    if (this.chosenId === id) this.choose('')
    await this.refresh()
    void device.measureRoom()
  }

  problems(id: DatasetId): Promise<RowProblem[]> {
    return data().problems(id)
  }
}

export const datasets = new Datasets()
