/**
 * Every setting of a job in the words of other trainers: LLaMA-Factory, TRL with PEFT, mlx-lm. What a tool has no word for is listed with
 * the reason. Refuses to drop a setting silently: one without a rule is listed as well.
 */
import { applies, SETTING_LIST, SETTINGS, type Job, type SettingKey } from '../../../shared/job'
import { llamaFactoryRules } from './llama-factory'
import { mlxRules } from './mlx'
import { Placed, type Options, type Rules } from './rules'
import { PEFT_RULES, trlRules } from './trl'

type Tool = 'llama-factory' | 'trl' | 'peft' | 'mlx'

/** What became of a setting: option names, or where it went or why it did not, in words. */
export interface Fate {
  key: SettingKey
  label: string
  value: Job[SettingKey]
  options: string[]
  text: string
  /** The tool has nothing like it. */
  isLost: boolean
}
export interface Translation {
  options: Options
  fates: Fate[]
}

/**
 * A job in a tool's words.
 * @param steps how many steps the run has in all.
 */
export function translate(job: Job, tool: Tool, steps: number): Translation {
  const rules: Rules = {
    'llama-factory': llamaFactoryRules,
    trl: trlRules,
    peft: () => PEFT_RULES,
    mlx: mlxRules,
  }[tool](steps)
  const options: Options = {}
  const fates: Fate[] = []
  for (const [key, { label }] of SETTING_LIST) {
    const fate = { key, label, value: job[key], options: [], text: '', isLost: false }
    const rule = rules[key]
    const found = !applies(key, job) ? {} : rule ? rule(job) : 'It has no equivalent there.'
    if (typeof found === 'string') fates.push(isUsed(job, key) ? { ...fate, text: found, isLost: true } : fate)
    else if (found instanceof Placed) fates.push({ ...fate, text: found.where })
    else {
      Object.assign(options, found)
      fates.push({ ...fate, options: Object.keys(found) })
    }
  }
  return { options, fates }
}

/** TRL's and PEFT's fates in one: what the one has no word for, the other may. */
export function together(first: Translation, second: Translation): Fate[] {
  return first.fates.map((fate, i) => {
    const other = second.fates[i] as Fate
    return other.options.length > 0 ? other : fate
  })
}

/** Whether a setting says anything: switched off is nothing to carry over. */
function isUsed(job: Job, key: SettingKey): boolean {
  const value = job[key]
  if (value === '' || (value === 0 && 'zero' in SETTINGS[key])) return false
  return SETTINGS[key].kind !== 'switch' || value !== SETTINGS[key].default
}
