/**
 * THE settings table: what a job may say, its defaults, bounds, words and flags. Form, validation, URL state, command-line
 * flags and docs all derive from it; its chapters, one entry a setting, are the files of settings/. Refuses to know where models, rows
 * or runs are kept.
 */
import { CodedError } from './errors'
import { checkMix } from './mix'
import { DATA } from './settings/data'
import { EVALUATION } from './settings/evaluation'
import type { ChoiceSetting, ListSetting, NumberSetting, Setting, SwitchSetting } from './settings/kinds'
import { METHOD } from './settings/method'
import { OPTIMISER } from './settings/optimiser'
import { SCHEDULE } from './settings/schedule'

export type {
  ChoiceSetting,
  Group,
  ListSetting,
  NumberSetting,
  Setting,
  SwitchSetting,
  TextSetting,
} from './settings/kinds'
export { LORA_TARGETS } from './settings/method'

export const SETTINGS = { ...DATA, ...METHOD, ...OPTIMISER, ...SCHEDULE, ...EVALUATION } as const satisfies Record<
  string,
  Setting
>

type Table = typeof SETTINGS
export type SettingKey = keyof Table
type Value<S> =
  S extends ChoiceSetting<infer C>
    ? C
    : S extends NumberSetting
      ? number
      : S extends SwitchSetting
        ? boolean
        : S extends ListSetting
          ? readonly string[]
          : string

/** A whole job: what a run keeps as its immutable settings. */
export type Job = { readonly [K in SettingKey]: Value<Table[K]> }

/** The table as a list, in the order in which the form shows it. */
export const SETTING_LIST = Object.entries(SETTINGS) as [SettingKey, Setting][]

/** The command-line flag of a setting, without dashes: its own, or the key in kebab case. */
export function flagOf(key: SettingKey): string {
  return (SETTINGS[key] as Setting).flag ?? key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)
}

/** A job with every setting at its default. */
export function defaultJob(): Job {
  return Object.fromEntries(SETTING_LIST.map(([key, setting]) => [key, setting.default])) as unknown as Job
}

/** A job that was stored before some settings were there, with those at their defaults. */
export function currentJob(stored: Partial<Job>): Job {
  return { ...defaultJob(), ...stored }
}

/** Whether a setting does anything in a job: every setting that it hangs on has one of the values it asks for. */
export function applies(key: SettingKey, job: Job): boolean {
  const { when } = SETTINGS[key] as Setting
  return Object.entries(when ?? {}).every(
    ([other, values]) => values.includes(job[other as SettingKey] as string) && applies(other as SettingKey, job),
  )
}

/** How large what a job trains is, in two or three words: "rank 16", "20 virtual tokens". */
export function methodText(job: Job): string {
  switch (job.method) {
    case 'ia3':
      return '(IA)³'
    case 'bottleneck':
      return `bottlenecks of ${job.bottleneckSize}`
    case 'prompt':
      return `a prompt of ${job.virtualTokens}`
    case 'prefix':
      return `a prefix of ${job.virtualTokens}`
    case 'full':
      return job.trainedPart === 'all' ? 'all weights' : SETTINGS.trainedPart.choices[job.trainedPart]
    default:
      return `rank ${job.rank}`
  }
}

/** Steps of warm-up in a run of so many steps: the number, or else the share rounded up, as transformers does. */
export function warmupOf(job: Pick<Job, 'warmupSteps' | 'warmupRatio'>, totalSteps: number): number {
  return job.warmupSteps > 0 ? job.warmupSteps : Math.ceil(totalSteps * job.warmupRatio)
}

/** What is wrong with one value, as a sentence; null where it is fine. */
export function checkSetting(key: SettingKey, value: unknown): string | null {
  const setting = SETTINGS[key] as Setting
  const name = setting.label
  switch (setting.kind) {
    case 'integer':
    case 'number': {
      if (typeof value !== 'number' || !Number.isFinite(value)) return `${name} must be a number.`
      if (setting.kind === 'integer' && !Number.isInteger(value)) return `${name} must be a whole number.`
      if (value < setting.min || value > setting.max)
        return `${name} must be between ${setting.min} and ${setting.max}.`
      return null
    }
    case 'choice':
      return typeof value === 'string' && Object.hasOwn(setting.choices, value)
        ? null
        : `${name} must be one of ${Object.keys(setting.choices).join(', ')}.`
    case 'switch':
      return typeof value === 'boolean' ? null : `${name} must be on or off.`
    case 'text':
      if (typeof value !== 'string') return `${name} must be text.`
      return value === '' || !setting.form || setting.form.pattern.test(value) ? null : `${name} ${setting.form.says}.`
    case 'list': {
      if (!Array.isArray(value) || value.length === 0)
        return `${name} needs at least one of ${setting.choices.join(', ')}.`
      return value.every((item) => typeof item === 'string') ? null : `${name} must be a list of names.`
    }
  }
}

/** A setting's text form (from a flag, the URL or a form field) as a value; the value may still fail {@link checkSetting}. */
export function parseSetting(key: SettingKey, raw: string): unknown {
  switch ((SETTINGS[key] as Setting).kind) {
    case 'integer':
    case 'number':
      return raw.trim() === '' ? Number.NaN : Number(raw)
    case 'switch':
      return raw === 'true' || raw === '1' ? true : raw === 'false' || raw === '0' ? false : raw
    case 'list':
      return raw
        .split(',')
        .map((item) => item.trim())
        .filter(Boolean)
    default:
      return raw
  }
}

/**
 * A full, valid, frozen job from what was given; the rest is at its default.
 * @throws CodedError `job.invalid`, listing every bad value and every unknown name at once.
 */
export function completeJob(given: Record<string, unknown>): Job {
  const problems: string[] = []
  const job: Record<string, unknown> = { ...defaultJob() }
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined) continue
    if (!Object.hasOwn(SETTINGS, key)) {
      problems.push(`There is no setting "${key}".`)
      continue
    }
    const problem = checkSetting(key as SettingKey, value)
    if (problem) problems.push(problem)
    job[key] = Array.isArray(value) ? Object.freeze([...value]) : value
  }
  if (problems.length === 0) problems.push(...Object.values(checkMix(job as unknown as Job)))
  if (problems.length > 0) {
    throw new CodedError('job.invalid', problems.join(' '), {
      where: 'job',
      fix: 'Correct these settings and start again.',
    })
  }
  return Object.freeze(job) as Job
}
