/**
 * Steps over a dataset, beside its rows, which never change: the history, what it comes to, and the states that runs were
 * started on. Refuses to apply them.
 */
import type { DatasetId, DatasetRecord } from '../shared/records'
import type { Step, StepHistory } from '../shared/steps'
import { openDatabase } from './database'

// Keys, in the datasets' database: ['steps', id], ['overlay', id], ['revision', id, revision].
const db = openDatabase('finetab-datasets')

/** What a dataset's record says after its steps. */
export type Overlay = Pick<DatasetRecord, 'rows' | 'mapping' | 'columns' | 'revision' | 'changes'>

/** A dataset's steps, done and undone. */
export async function readSteps(id: DatasetId): Promise<StepHistory> {
  return (await db.get<StepHistory>(['steps', id])) ?? { done: [], undone: [] }
}

/** What the steps come to; null where there are none. */
export async function readOverlay(id: DatasetId): Promise<Overlay | null> {
  return (await db.get<Overlay>(['overlay', id])) ?? null
}

/** Keeps a history and what it comes to, both or neither. */
export async function putSteps(id: DatasetId, history: StepHistory, overlay: Overlay): Promise<void> {
  await db.write((store) => {
    store.put(history, ['steps', id])
    store.put(overlay, ['overlay', id])
  })
}

/** Keeps the steps as they are now for a run, so that it finds the very same rows whatever is changed later. */
export async function keepRevision(id: DatasetId, revision: string, steps: readonly Step[]): Promise<void> {
  await db.write((store) => void store.put(steps, ['revision', id, revision]))
}

/** The steps that a run was started on; null where they are not here. */
export async function readRevision(id: DatasetId, revision: string): Promise<Step[] | null> {
  return (await db.get<Step[]>(['revision', id, revision])) ?? null
}
