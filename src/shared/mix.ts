/** The setting that mixes datasets, as text and as a list; and what of a job's datasets does not go together. Refuses to look at rows. */

/** A dataset by its id (on the command line its path) and its share of every pass. */
export interface MixEntry {
  dataset: string
  share: number
}

/** What of a job says which datasets it takes. */
interface Sources {
  data: string
  evalData: string
  mix: string
  replayShare: number
  replayData: string
}

/** The general text that comes with Finetab: what a replay takes where the job names none. */
export const GENERAL_TEXT = 'sample:everyday-stories'

/** The setting as a list; a part that is not NAME=SHARE, with a share between 0 and 1, as it stands. */
export function parseMix(mix: string): (MixEntry | string)[] {
  return mix
    .split(',')
    .map((part) => part.trim())
    .filter(Boolean)
    .map((part) => {
      const at = part.lastIndexOf('=')
      const dataset = part.slice(0, at).trim()
      const share = Number(part.slice(at + 1))
      return at < 1 || dataset === '' || !(share > 0 && share < 1) ? part : { dataset, share }
    })
}

/** The list as the setting. */
export function writeMix(entries: readonly MixEntry[]): string {
  return entries.map(({ dataset, share }) => `${dataset}=${share}`).join(',')
}

/** All that a job mixes in, general text last; parts that cannot be read are left out. */
export function mixedIn({
  mix,
  replayShare,
  replayData,
}: Pick<Sources, 'mix' | 'replayShare' | 'replayData'>): MixEntry[] {
  const entries = parseMix(mix).filter((entry) => typeof entry !== 'string')
  return replayShare > 0 ? [...entries, { dataset: replayData || GENERAL_TEXT, share: replayShare }] : entries
}

/** Rows of one pass with what is mixed in, of so many rows of the dataset itself. */
export function passRows(job: Pick<Sources, 'mix' | 'replayShare' | 'replayData'>, rows: number): number {
  const own = 1 - mixedIn(job).reduce((sum, { share }) => sum + share, 0)
  return own > 0 ? Math.round(rows / own) : rows
}

/** Setting → what is wrong with it beside the others. */
export function checkMix(job: Omit<Sources, 'evalData'>): { mix?: string; replayData?: string } {
  const bad = parseMix(job.mix).find((entry) => typeof entry === 'string')
  if (bad !== undefined)
    return { mix: `Mixed-in datasets must be written as NAME=0.2, separated by commas; "${bad}" is not.` }
  const entries = mixedIn(job)
  const sum = entries.reduce((total, { share }) => total + share, 0)
  if (sum > 0.999)
    return {
      mix: `What is mixed in takes ${Math.round(100 * sum)}% of every pass; leave something for the dataset itself.`,
    }
  const names = entries.map(({ dataset }) => dataset)
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) return { mix: `The dataset ${twice} is mixed in twice: give it one share.` }
  if (job.data === '' || !names.includes(job.data)) return {}
  return job.replayShare > 0 && names.at(-1) === job.data
    ? { replayData: 'The general text is the dataset itself: choose another.' }
    : { mix: 'The dataset itself is mixed in: leave it out, or choose another.' }
}

/** What is wrong with a validation dataset: rows that are trained on say nothing. */
export function checkHeld(job: Sources): string | undefined {
  if (job.evalData === '') return undefined
  if (job.evalData === job.data) return 'The validation dataset is the one that is trained on: its loss says nothing.'
  if (mixedIn(job).some(({ dataset }) => dataset === job.evalData))
    return 'The validation dataset is also mixed into the training: its loss says nothing.'
  return undefined
}
