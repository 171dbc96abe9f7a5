/** The base models that are here and the one that is chosen. Refuses to load weights: the engine does. */
import { engine } from '../client'
import { toReport, type ErrorReport } from '../shared/errors'
import type { Progress } from '../shared/files'
import type { ModelId, ModelRecord } from '../shared/records'
import { device } from './device.svelte'
import { readPreference, writePreference } from './preferences'

class Models {
  list = $state.raw<readonly ModelRecord[]>([])
  loaded = $state(false)
  chosenId = $state<ModelId>(readPreference('model', ''))
  chosen = $derived(this.list.find((model) => model.id === this.chosenId) ?? null)
  bundled = $derived(this.list.filter(({ id }) => id.startsWith('bundled:')))
  own = $derived(this.list.filter(({ id }) => !id.startsWith('bundled:')))
  importing = $state.raw<Progress | null>(null)
  error = $state.raw<ErrorReport | null>(null)

  /** Reads the list; the first bundled model is chosen where the person has not chosen one that is still there. */
  async refresh(): Promise<void> {
    try {
      this.list = await engine().listModels()
      if (!this.chosen && this.list[0]) this.chosenId = this.list[0].id
    } catch (error) {
      this.error = toReport(error)
    } finally {
      this.loaded = true
    }
  }

  choose(id: ModelId): void {
    this.error = null
    this.chosenId = id
    writePreference('model', id)
  }

  /** Reads, checks and keeps a folder in Hugging Face layout, and chooses it. True if it is here now. */
  async importFolder(files: { path: string; file: File }[]): Promise<boolean> {
    this.error = null
    this.importing = { stage: 'Reading the folder', done: 0, total: 0, unit: 'bytes' }
    try {
      const model = await engine().importModel(files, (progress) => (this.importing = progress))
      await this.refresh()
      this.choose(model.id)
      void device.measureRoom()
      void device.keep()
      return true
    } catch (error) {
      this.error = toReport(error)
      return false
    } finally {
      this.importing = null
    }
  }

  async remove(id: ModelId): Promise<void> {
    this.error = null
    await engine().deleteModel(id)
    await this.refresh()
    void device.measureRoom()
  }
}

export const models = new Models()
