/** The next run after one: its settings as a draft, with what is proposed changed. Refuses to start it. */
import type { Job } from '../shared/job'
import type { RunRecord } from '../shared/records'
import { datasets } from './datasets.svelte'
import { draft } from './draft.svelte'
import { models } from './models.svelte'
import { notices } from './notices.svelte'
import { route } from './route.svelte'

/** Opens a draft with a run's settings, model and dataset where these are still here, and the changes. */
export function nextFrom(run: RunRecord, change: Partial<Job> = {}): void {
  const undo = draft.take({ ...run.job, ...change })
  if (models.list.some((model) => model.id === run.job.model)) models.choose(run.job.model)
  if (datasets.list.some((dataset) => dataset.id === run.job.data)) datasets.choose(run.job.data)
  const changed = Object.keys(change).length > 0
  notices.say(`Its settings are here for the next run${changed ? ', with the change' : ''}.`, undo)
  route.go('train')
}
