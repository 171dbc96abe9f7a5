/** Which objective a job asks for, and which sequences of a row it learns from. Refuses rows that lack what it needs. */
import type { Job } from '../../../shared/job'
import type { EncodedRow, EncodedSequence } from '../../../shared/records'
import { CodedError } from '../../../shared/errors'
import { dpo } from './dpo'
import { kto } from './kto'
import { orpo } from './orpo'
import type { Objective } from './verdict'

/** The objective of a job; null for plain next-token training. */
export function objectiveOf(job: Pick<Job, 'objective' | 'beta' | 'wrongPairs' | 'sftWeight'>): Objective | null {
  switch (job.objective) {
    case 'sft':
    case 'classification':
      return null
    case 'dpo':
      return dpo(job)
    case 'orpo':
      return orpo(job)
    case 'kto':
      return kto(job)
  }
}

/**
 * The sequences of a row that are learnt from: of a pair the better and the worse, else the row itself.
 * @throws CodedError `data.columns` where the rows are not what the objective needs.
 */
export function answersOf(row: EncodedRow, objective: Job['objective']): EncodedSequence[] {
  if (objective === 'kto') {
    if (!row.rated) throw wrongRows('KTO needs answers that were rated as good or bad.', row)
    return [row]
  }
  if (!row.rejected) throw wrongRows(`${objective.toUpperCase()} needs a better and a worse answer in each row.`, row)
  return [row, row.rejected]
}

function wrongRows(what: string, row: EncodedRow): CodedError {
  return new CodedError('data.columns', what, {
    where: `row ${row.index + 1}`,
    fix: 'Choose another objective, or map the columns as preferences or rated answers.',
  })
}
