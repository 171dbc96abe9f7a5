/**
 * Where each setting of a job comes from: flags, then the job file, then the recipe for this model and data, then the
 * table's defaults. Refuses settings that contradict the run that is resumed.
 */
import type { Job, Setting, SettingKey } from '../shared/job'
import { applies, completeJob, currentJob, flagOf, SETTINGS } from '../shared/job'
import { CodedError } from '../shared/errors'
import { asJobFile, type JobFile } from '../shared/job-file'
import type { Given } from './flags'
import { readRange } from './folder'

/** What a resumed run may change: where things are and how it is watched, nothing that changes its numbers. */
const MAY_CHANGE: ReadonlySet<SettingKey> = new Set([
  'model',
  'data',
  'evalData',
  'initAdapter',
  'samplePrompt',
  'sampleTokens',
  'backend',
])

/**
 * The settings in a job file: an object by the names of the table, or a run's own file, which also says what its rows were.
 * @throws CodedError `job.invalid`, `file.missing`.
 */
export async function readJobFile(path: string): Promise<{ given: Given; run: JobFile | null }> {
  const text = new TextDecoder().decode(await readRange(path))
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new CodedError('job.invalid', `The job file is not JSON: ${(error as Error).message}`, {
      where: path,
      fix: 'Write it as { "rank": 8, "learningRate": 0.001 }.',
      cause: error,
    })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new CodedError('job.invalid', 'The job file is not an object of settings.', {
      where: path,
      fix: 'Write it as { "rank": 8, "learningRate": 0.001 }.',
    })
  }
  const run = asJobFile(value)
  if (run) return { given: { ...run.job } as Given, run }
  completeJob(value as Record<string, unknown>)
  return { given: value as Given, run }
}

/**
 * The job of a run that is resumed: that of its checkpoint, but for what may change.
 * @throws CodedError `checkpoint.mismatch`, naming every flag that says something else.
 */
export function resumedJob(kept: Job, given: Given): Job {
  const stored = currentJob(kept)
  const keys = Object.keys(given) as SettingKey[]
  const against = keys.filter((key) => !MAY_CHANGE.has(key) && !same(stored[key], given[key]))
  if (against.length > 0) {
    const list = against.map((key) => `--${flagOf(key)} (${String(stored[key])} there, ${String(given[key])} here)`)
    throw new CodedError('checkpoint.mismatch', `The run to resume has other settings: ${list.join(', ')}.`, {
      where: '--resume',
      fix: 'Leave these flags out, or start a new run without --resume.',
    })
  }
  return completeJob({ ...stored, ...given })
}

/** A sentence for each flag that does nothing in a job: what it hangs on has another value. */
export function idleFlags(given: Given, job: Job): string[] {
  const idle = (Object.keys(given) as SettingKey[]).filter((key) => key in SETTINGS && !applies(key, job))
  return idle.map((key) => {
    const conditions = Object.entries((SETTINGS[key] as Setting).when ?? {}).map(
      ([other, values]) => `--${flagOf(other as SettingKey)} ${values.join(', ')}`,
    )
    return `--${flagOf(key)} does nothing here: it counts only with ${conditions.join(' and ')}.`
  })
}

/** A setting's value for a person: "2e-4", "q_proj, v_proj", "from epochs". */
export function settingText(key: SettingKey, value: Job[SettingKey]): string {
  const setting: Setting = SETTINGS[key]
  if (Array.isArray(value)) return value.join(', ')
  if (value === 0 && setting.zero) return setting.zero
  return String(value)
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}
