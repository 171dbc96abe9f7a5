/** A run's job file on the command line: where its model and rows are here, and whether they are the same. Refuses to guess between files. */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fingerprintRows, type Prepared } from '../data'
import { CodedError } from '../shared/errors'
import type { JobFile } from '../shared/job-file'
import type { Given } from './flags'
import type { Output } from './output'

/**
 * Puts paths into `given` for what the page knew by an id of its own: the dataset's file where it lies beside the job file.
 * @throws CodedError `usage`, naming the flag that must say where something is.
 */
export function resolvePlaces(run: JobFile, path: string, given: Given): void {
  const own = given as Record<string, unknown>
  if (own.model === run.job.model && /^(local|hub):/.test(run.job.model)) {
    throw missing('model', run.model.name, '--model', 'its folder or GGUF file')
  }
  if (own.evalData === run.job.evalData && run.job.evalData.startsWith('local:')) {
    throw missing('validation dataset', run.job.evalData, '--eval-data', 'its file')
  }
  if (own.initAdapter === run.job.initAdapter && run.job.initAdapter !== '') {
    throw missing('adapter that the run started from', run.job.initAdapter, '--init-adapter', 'its folder')
  }
  if (own.data === run.job.data && run.job.data.startsWith('local:')) {
    const beside = join(dirname(path), run.dataset.file)
    if (run.dataset.file === '' || !existsSync(beside)) {
      throw missing('dataset', `${run.dataset.name} (${run.dataset.file})`, '--data', 'its file')
    }
    own.data = beside
  }
}

function missing(what: string, name: string, flag: string, give: string): CodedError {
  return new CodedError('usage', `The run’s ${what} is known only to the page that trained it.`, {
    where: name,
    fix: `Give ${flag} with ${give}; the rest comes from the job file.`,
  })
}

/** The fingerprint of everything that a run trains on and is judged by. */
export function fingerprintOf({ train, eval: held, mixed }: Prepared): string {
  return fingerprintRows(train, held, ...mixed.map(({ rows }) => rows))
}

/** Says so where the rows are not those that the page trained on: the numbers will then be others. */
export function checkSameRows(run: JobFile, rows: Prepared, output: Output): void {
  const { train, eval: held } = rows
  const hash = fingerprintOf(rows)
  const same = run.rowsHash === undefined || run.rowsHash === hash
  output.event('rows', { same, hash, expected: run.rowsHash ?? null })
  if (same) return
  output.warn(
    `These are not the rows of “${run.run}” (${train.length} and ${held.length} instead of ${run.dataset.trainRows} and ` +
      `${run.dataset.evalRows}, or other text): the losses will differ. Was the dataset changed after it was added? Save it from the Data page and give that file.`,
  )
}
