/**
 * The page's doors to its two workers. Refuses to do any work itself.
 */
import type { DataApi, EngineApi } from '../shared/protocol'
import { WorkerClient } from './worker-client'

const engineClient = new WorkerClient<EngineApi>(
  () => new Worker(new URL('../../workers/engine.worker.ts', import.meta.url), { type: 'module', name: 'engine' }),
)
const dataClient = new WorkerClient<DataApi>(
  () => new Worker(new URL('../../workers/data.worker.ts', import.meta.url), { type: 'module', name: 'data' }),
)

/** Device, models, training, generation, export. */
export function engine(): EngineApi {
  return engineClient.api
}

/** Files, rows, previews. */
export function data(): DataApi {
  return dataClient.api
}

/** Kills the engine worker at once; a run under way can be resumed from its last checkpoint. */
export function terminateEngine(): void {
  engineClient.terminate()
}

/** Kills the data worker at once; an import under way leaves nothing behind. */
export function terminateData(): void {
  dataClient.terminate()
}
