/** Mixing datasets: the setting as text and as a list, and what does not go together. */
import { describe, expect, it } from 'vitest'
import { completeJob, defaultJob } from '../../../src/shared/job'
import { checkHeld, checkMix, mixedIn, parseMix, passRows, writeMix } from '../../../src/shared/mix'

const job = (change: object) => ({ ...defaultJob(), data: 'local:d', ...change })

describe('the setting', () => {
  it('is read and written again as it was', () => {
    const text = 'local:1=0.25,a=b.jsonl=0.1'
    const entries = parseMix(text).filter((entry) => typeof entry !== 'string')
    expect(entries).toEqual([
      { dataset: 'local:1', share: 0.25 },
      { dataset: 'a=b.jsonl', share: 0.1 },
    ])
    expect(writeMix(entries)).toBe(text)
    expect(parseMix('')).toEqual([])
  })

  it('says how long a pass is', () => {
    expect(passRows(job({ mix: 'x=0.25', replayShare: 0.25 }), 100)).toBe(200)
    expect(passRows(job({}), 100)).toBe(100)
    expect(mixedIn(job({ replayShare: 0.1 }))).toEqual([{ dataset: 'sample:everyday-stories', share: 0.1 }])
  })
})

describe('what does not go together', () => {
  it.each([
    ['no share', { mix: 'local:1' }, /NAME=0.2/],
    ['a share of nothing', { mix: 'local:1=0' }, /NAME=0.2/],
    ['shares of all', { mix: 'a=0.5', replayShare: 0.5 }, /takes 100% of every pass/],
    ['the same twice', { mix: 'a=0.1,a=0.2' }, /mixed in twice/],
    ['the same as general text', { mix: 'sample:everyday-stories=0.1', replayShare: 0.2 }, /mixed in twice/],
    ['the dataset itself', { mix: 'local:d=0.1' }, /dataset itself is mixed in/],
  ])('%s is refused by form, command line and stored runs alike', (_, change, says) => {
    expect(checkMix(job(change)).mix).toMatch(says)
    expect(() => completeJob(job(change))).toThrow(says)
  })

  it('general text that is the dataset is refused by its own name', () => {
    expect(checkMix(job({ replayShare: 0.1, replayData: 'local:d' })).replayData).toContain('choose another')
  })

  it('shares that leave something are fine', () => {
    expect(checkMix(job({ mix: 'a=0.5,b=0.3', replayShare: 0.1 }))).toEqual({})
    expect(completeJob(job({ mix: 'a=0.5', replayShare: 0.1 })).mix).toBe('a=0.5')
  })

  it('validation rows that are trained on are pointed out', () => {
    expect(checkHeld(job({ evalData: 'local:d' }))).toContain('trained on')
    expect(checkHeld(job({ evalData: 'v', mix: 'v=0.1' }))).toContain('mixed into')
    expect(checkHeld(job({ evalData: 'v' }))).toBeUndefined()
  })
})
