/**
 * Whether what a run was started with is still the same: the bundled model's files, the rows as they are encoded.
 * Refuses to go on where they are not; runs of before these were noted are let through.
 */
import { fingerprintRows, type Prepared } from '../src/data'
import { CodedError } from '../src/shared/errors'
import type { RunRecord } from '../src/shared/records'
import type { Workshop } from './workshop'

export type RowsNote = Pick<RunRecord, 'trainRows' | 'evalRows' | 'rowsHash'>

/** What is noted of rows, to be compared at the next start. */
export function noteRows({ train, eval: held, mixed }: Prepared): RowsNote {
  const rowsHash = fingerprintRows(train, held, ...mixed.map(({ rows }) => rows))
  return { trainRows: train.length, evalRows: held.length, rowsHash }
}

/** A checkpoint's place in the stream of rows means nothing in another set of rows. @throws CodedError `checkpoint.mismatch` */
export function refuseOtherRows(run: RunRecord, now: RowsNote): void {
  const counted = now.trainRows === run.trainRows && now.evalRows === run.evalRows
  if (counted && (run.rowsHash === undefined || run.rowsHash === now.rowsHash)) return
  throw new CodedError('checkpoint.mismatch', 'The examples have changed since this run was started.', {
    where: counted
      ? `${run.dataset.name}: as many rows, with other content`
      : `${run.dataset.name}: ${now.trainRows} rows to train on instead of ${run.trainRows}`,
    fix: 'Start a new run with the dataset as it is now; what this one has learnt can still be used and exported.',
  })
}

/** An adapter means nothing on other weights. @throws CodedError `checkpoint.mismatch` */
export async function refuseOtherModel(workshop: Workshop, { model }: RunRecord): Promise<void> {
  if (model.fingerprint === undefined || model.fingerprint === (await workshop.fingerprint(model.id))) return
  throw new CodedError('checkpoint.mismatch', `${model.name} is no longer the model that this run was started on.`, {
    where: `${model.id}: its files have changed with a new version of this page`,
    fix: 'Start a new run on the model as it is now. What this run learnt fits its own model only: the PEFT export still holds it.',
  })
}
