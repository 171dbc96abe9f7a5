/** Reads which datasets a job mixes in and with which shares. Refuses shares that leave nothing for the dataset itself. */
import { CodedError } from '../../shared/errors'
import type { Job } from '../../shared/job'

/** A dataset by its id (on the command line its path) and its share of every pass. */
export interface MixEntry {
  dataset: string
  share: number
}

/** The general text that comes with Finetab: what a replay takes where the job names none. */
export const GENERAL_TEXT = 'sample:everyday-stories'

/**
 * What a job mixes in, general text last; empty for most jobs.
 * @throws CodedError `job.invalid` where an entry is not NAME=SHARE, or the shares add up to 1 or more.
 */
export function mixOf({ mix = '', replayShare = 0, replayData = '' }: Partial<Job>): MixEntry[] {
  const entries = mix
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean)
    .map((part): MixEntry => {
      const at = part.lastIndexOf('=')
      const dataset = part.slice(0, at).trim()
      const share = Number(part.slice(at + 1))
      if (at < 1 || dataset === '' || !(share > 0 && share < 1)) throw invalid(`"${part}" is not NAME=SHARE.`)
      return { dataset, share }
    })
  if (replayShare > 0) entries.push({ dataset: replayData || GENERAL_TEXT, share: replayShare })
  const sum = entries.reduce((total, { share }) => total + share, 0)
  if (sum >= 1) throw invalid(`The shares of what is mixed in add up to ${Number(sum.toFixed(3))}.`)
  return entries
}

function invalid(what: string): CodedError {
  return new CodedError('job.invalid', what, {
    where: 'mix',
    fix: 'Write datasets as NAME=0.2, separated by commas; leave something for the dataset itself.',
  })
}
