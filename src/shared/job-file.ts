/**
 * A run as a file from which the command line repeats it: every setting, what the columns meant, and what model and rows they
 * were. Refuses to hold rows or weights.
 */
import { CodedError } from './errors'
import { completeJob, currentJob, type Job } from './job'
import type { Mapping, RunRecord } from './records'

const KIND = 'finetab-job'

export interface JobFile {
  kind: typeof KIND
  version: 1
  /** The run's name. */
  run: string
  model: { id: string; name: string }
  dataset: { id: string; name: string; file: string; mapping: Mapping; trainRows: number; evalRows: number }
  /** Fingerprint of the rows as they were trained on, tokens and labels; runs of before it was kept have none. */
  rowsHash?: string
  /** Every setting; `backend` is the one that computed. */
  job: Job
}

/** The job file of a run. */
export function jobFileOf(run: RunRecord): JobFile {
  const { id, name, file, mapping } = run.dataset
  const backend = run.backend === 'wasm' || run.backend === 'webgpu' ? run.backend : run.job.backend
  return {
    kind: KIND,
    version: 1,
    run: run.name,
    model: { id: run.model.id, name: run.model.name },
    dataset: { id, name, file, mapping, trainRows: run.trainRows, evalRows: run.evalRows },
    ...(run.rowsHash === undefined ? {} : { rowsHash: run.rowsHash }),
    job: { ...currentJob(run.job), backend },
  }
}

/** A parsed JSON value as a job file; null where it is none. @throws CodedError `job.invalid` where its settings are not valid. */
export function asJobFile(value: object): JobFile | null {
  const file = value as Partial<JobFile>
  if (file.kind !== KIND) return null
  if (file.version !== 1 || typeof file.job !== 'object' || !file.dataset?.mapping) {
    throw new CodedError('job.invalid', 'This job file is of another version, or not whole.', {
      fix: 'Save it again from the run.',
    })
  }
  completeJob({ ...file.job })
  return file as JobFile
}
