/** What a job mixes in. Refuses shares that leave nothing for the dataset itself. */
import { CodedError } from '../../shared/errors'
import type { Job } from '../../shared/job'
import { checkMix, mixedIn, type MixEntry } from '../../shared/mix'

/**
 * What a job mixes in, general text last; empty for most jobs.
 * @throws CodedError `job.invalid` where an entry is not NAME=SHARE, or the shares add up to 1 or more.
 */
export function mixOf({ mix = '', replayShare = 0, replayData = '' }: Partial<Job>): MixEntry[] {
  const problem = checkMix({ data: '', mix, replayShare, replayData }).mix
  if (problem === undefined) return mixedIn({ mix, replayShare, replayData })
  throw new CodedError('job.invalid', problem, {
    where: 'mix',
    fix: 'Write datasets as NAME=0.2, separated by commas; leave something for the dataset itself.',
  })
}
