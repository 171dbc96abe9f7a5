/** Every run that is kept, and what can be done with one. Refuses to change what a run was started with. */
import { engine } from '../client'
import { toReport, type ErrorReport } from '../shared/errors'
import type { OnProgress, Progress } from '../shared/files'
import { MetricBuffer } from '../shared/metrics'
import type { ExportRequest, ExportResult, HandoffRequest } from '../shared/protocol'
import type { ModelId, RunId, RunRecord } from '../shared/records'
import { deleteRun, getMetrics, listRuns, updateRun, whenRunIsFree } from '../storage'
import { device } from './device.svelte'

class Runs {
  list = $state.raw<readonly RunRecord[]>([])
  loaded = $state(false)
  error = $state.raw<ErrorReport | null>(null)
  exporting = $state.raw<Progress | null>(null)
  importing = $state(false)
  readonly #awaited = new Set<RunId>()

  async refresh(): Promise<void> {
    try {
      this.list = await listRuns()
      this.error = null
    } catch (error) {
      this.error = toReport(error)
    } finally {
      this.loaded = true
    }
    this.#awaitOthers()
  }

  /** Runs at work in another tab, or in this one before it was reloaded, show their new state once they are let go of. */
  #awaitOthers(): void {
    for (const { id, status } of this.list) {
      if ((status !== 'running' && status !== 'preparing') || this.#awaited.has(id)) continue
      this.#awaited.add(id)
      void whenRunIsFree(id).then(() => {
        this.#awaited.delete(id)
        return this.refresh()
      })
    }
  }

  /** A run's numbers, from storage. */
  async metrics(id: RunId): Promise<MetricBuffer> {
    return new MetricBuffer((await getMetrics(id)) ?? undefined)
  }

  /** The name itself, or with the first number that no other run has. */
  freeName(name: string): string {
    const taken = new Set(this.list.map((run) => run.name))
    if (!taken.has(name)) return name
    let number = 2
    while (taken.has(`${name}, ${number}`)) number++
    return `${name}, ${number}`
  }

  async rename(id: RunId, name: string): Promise<void> {
    await updateRun(id, { name })
    await this.refresh()
  }

  async remove(id: RunId): Promise<void> {
    await deleteRun(id)
    await this.refresh()
    void device.measureRoom()
  }

  /** Writes a run's adapter as files that were read back and compared. */
  exportRun(request: ExportRequest): Promise<ExportResult> {
    return this.#export('Writing the adapter', (told) => engine().exportRun(request, told))
  }

  /** Writes a run's job with its rows for larger machines. */
  handOff(request: HandoffRequest): Promise<ExportResult> {
    return this.#export('Reading the rows', (told) => engine().handOff(request, told))
  }

  /** Ends what is being exported. */
  async cancelExport(): Promise<void> {
    await engine().cancelExport()
  }

  async #export(stage: string, work: (told: OnProgress) => Promise<ExportResult>): Promise<ExportResult> {
    this.exporting = { stage, done: 0, total: 0, unit: 'bytes' }
    try {
      return await work((progress) => (this.exporting = progress))
    } finally {
      this.exporting = null
    }
  }

  /** Takes a PEFT folder or zip in as a run. */
  async importAdapter(modelId: ModelId, files: { path: string; file: File }[]): Promise<RunRecord> {
    this.importing = true
    try {
      const run = await engine().importAdapter(modelId, files)
      await this.refresh()
      return run
    } finally {
      this.importing = false
    }
  }
}

export const runs = new Runs()

/** Whether a run has an adapter to talk to or to export. */
export function hasAdapter(run: RunRecord): boolean {
  return run.status === 'imported' || run.checkpoints.length > 0
}
