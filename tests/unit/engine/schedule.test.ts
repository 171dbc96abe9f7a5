/** Learning rates, clipping and the run's calendar. */
import { describe, expect, it } from 'vitest'
import { clipFactor } from '../../../src/engine/optim/clip'
import { learningRate, type ScheduleSettings } from '../../../src/engine/optim/schedule'
import { interval, isDue, totalSteps } from '../../../src/engine/train/schedule'
import { defaultJob } from '../../../src/shared/job'
import { goldenJson } from '../../support/golden'

const golden = await goldenJson<{
  schedules: Record<string, number[]> & {
    steps: number
    warmup: number
    wsd_decay: number
    plateau: { losses: number[]; patience: number; factor: number; rates: number[] }
  }
}>('training.json')
const recorded = golden.schedules

const at = (change: Partial<ScheduleSettings>): number[] =>
  Array.from({ length: recorded.steps }, (_, i) =>
    learningRate({ ...defaultJob(), learningRate: 1, warmupSteps: recorded.warmup, ...change }, i + 1, recorded.steps),
  )

describe('learningRate', () => {
  it.each<[string, Partial<ScheduleSettings>]>([
    ['cosine', { schedule: 'cosine' }],
    ['linear', { schedule: 'linear' }],
    ['constant', { schedule: 'constant' }],
    ['cosine-restarts', { schedule: 'cosine-restarts', cycles: 3 }],
    ['cosine-final', { schedule: 'cosine', finalRate: 0.1 }],
    ['polynomial', { schedule: 'polynomial', power: 2, finalRate: 0.1 }],
    ['wsd', { schedule: 'wsd', decayShare: recorded.wsd_decay / recorded.steps }],
  ])('is %s as in transformers', (name, change) => {
    const wanted = recorded[name]!
    at(change).forEach((rate, i) => expect(rate, `step ${i + 1}`).toBeCloseTo(wanted[i]!, 12))
  })

  it('goes down on a plateau as in PyTorch', () => {
    const { losses, patience, factor, rates } = recorded.plateau
    const settings = {
      ...defaultJob(),
      schedule: 'plateau',
      learningRate: 1,
      plateauPatience: patience,
      plateauFactor: factor,
    } as const
    losses.forEach((_, i) => {
      const seen = losses.slice(0, i + 1).flatMap((loss) => [Number.NaN, loss])
      expect(learningRate(settings, 10, 20, seen), `after ${i + 1}`).toBeCloseTo(rates[i]!, 12)
    })
    expect(new Set(rates).size).toBe(4)
  })

  it('takes the warm-up as a share of all steps, rounded up, unless steps are given', () => {
    const share = at({ schedule: 'constant', warmupSteps: 0, warmupRatio: 0.06 })
    expect(share.slice(0, 3)).toEqual([0, 0.5, 1])
    expect(at({ schedule: 'constant', warmupSteps: 4, warmupRatio: 0.5 }).slice(0, 5)).toEqual([0, 0.25, 0.5, 0.75, 1])
  })
})

describe('clipFactor', () => {
  it('scales down to the limit, never up, and 0 is off', () => {
    expect(clipFactor(2, 1)).toBeCloseTo(0.5, 5)
    expect(clipFactor(0.5, 1)).toBe(1)
    expect(clipFactor(1e9, 0)).toBe(1)
  })
})

describe('the calendar of a run', () => {
  const job = { steps: 0, epochs: 3, batchSize: 4, gradAccum: 2 }
  it('makes steps from epochs, rounding up', () => {
    expect(totalSteps(job, 16)).toBe(6)
    expect(totalSteps(job, 17)).toBe(7)
    expect(totalSteps({ ...job, epochs: 0.01 }, 5)).toBe(1)
    expect(totalSteps({ ...job, steps: 11 }, 16)).toBe(11)
  })
  it('refuses no rows', () => {
    expect(() => totalSteps(job, 0)).toThrow(/no examples/)
  })
  it('looks up ten times a run, at least every 100 steps', () => {
    expect(interval(0, 60)).toBe(6)
    expect(interval(0, 5)).toBe(1)
    expect(interval(0, 100_000)).toBe(100)
    expect(interval(7, 60)).toBe(7)
  })
  it('is due every so often and at the end', () => {
    expect([0, 1, 2, 3, 4, 5].filter((step) => isDue(step, 2, 5))).toEqual([2, 4, 5])
  })
})
