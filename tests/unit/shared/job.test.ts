import { describe, expect, it } from 'vitest'
import { CodedError } from '../../../src/shared/errors'
import {
  applies,
  checkSetting,
  completeJob,
  defaultJob,
  flagOf,
  parseSetting,
  SETTING_LIST,
  SETTINGS,
  type SettingKey,
} from '../../../src/shared/job'

describe('the settings table', () => {
  it('has valid defaults', () => {
    for (const [key, setting] of SETTING_LIST) expect(checkSetting(key, setting.default), key).toBeNull()
  })

  it('explains every setting in one sentence', () => {
    for (const [key, setting] of SETTING_LIST) {
      expect(setting.help, key).toMatch(/\.$/)
      expect(setting.help.length, key).toBeGreaterThan(20)
    }
  })

  it('gives every setting a flag of its own', () => {
    const flags = SETTING_LIST.map(([key]) => flagOf(key))
    expect(new Set(flags).size).toBe(flags.length)
    expect(flagOf('learningRate')).toBe('lr')
    expect(flagOf('warmupSteps')).toBe('warmup-steps')
  })

  it('says under which values of other settings one does anything', () => {
    const job = defaultJob()
    expect(applies('cycles', job)).toBe(false)
    expect(applies('cycles', { ...job, schedule: 'cosine-restarts' })).toBe(true)
    expect(applies('rank', job)).toBe(true)
    for (const [key, { when }] of SETTING_LIST) {
      for (const [other, values] of Object.entries(when ?? {})) {
        expect(SETTINGS, `${key} hangs on ${other}`).toHaveProperty(other)
        for (const value of values) expect(checkSetting(other as SettingKey, value), `${key}: ${value}`).toBeNull()
      }
    }
  })

  it('reads text forms and judges them', () => {
    expect(parseSetting('learningRate', '3e-4')).toBe(3e-4)
    expect(parseSetting('shuffle', 'false')).toBe(false)
    expect(parseSetting('targets', 'q_proj, v_proj')).toEqual(['q_proj', 'v_proj'])
    expect(checkSetting('rank', parseSetting('rank', ''))).toMatch(/number/)
    expect(checkSetting('rank', 1.5)).toMatch(/whole/)
    expect(checkSetting('rank', 0)).toMatch(/between 1 and 256/)
    expect(checkSetting('schedule', 'sometimes')).toMatch(/cosine, linear, constant/)
    expect(checkSetting('targets', [])).toMatch(/at least one/)
  })
})

describe('completeJob', () => {
  it('fills in defaults and freezes the result', () => {
    const job = completeJob({ rank: 4, targets: ['q_proj'] })
    expect(job).toEqual({ ...defaultJob(), rank: 4, targets: ['q_proj'] })
    expect(Object.isFrozen(job)).toBe(true)
    expect(Object.isFrozen(job.targets)).toBe(true)
  })

  it('lists every problem at once', () => {
    const attempt = () => completeJob({ rank: -1, speed: 9, schedule: 'x' })
    expect(attempt).toThrow(CodedError)
    expect(attempt).toThrow(/LoRA rank.*"speed".*Schedule/s)
  })

  it('ignores settings that were not given', () => {
    expect(completeJob({ rank: undefined }).rank).toBe(SETTINGS.rank.default)
  })
})
