/** Learning rates, clipping and the run's calendar. */
import { describe, expect, it } from 'vitest'
import { clipFactor } from '../../../src/engine/optim/clip'
import { learningRate } from '../../../src/engine/optim/schedule'
import { interval, isDue, totalSteps } from '../../../src/engine/train/schedule'

const at = (schedule: 'cosine' | 'linear' | 'constant', warmupSteps: number, total: number): number[] =>
  Array.from({ length: total }, (_, i) => learningRate({ schedule, warmupSteps, learningRate: 1 }, i + 1, total))

describe('learningRate', () => {
  // Recorded from transformers.get_scheduler.
  it('is linear as in transformers', () => {
    expect(at('linear', 2, 6)).toEqual([0, 0.5, 1, 0.75, 0.5, 0.25])
  })
  it('is a cosine as in transformers', () => {
    const wanted = [0, 0.5, 1, 0.8535533905932737, 0.5, 0.14644660940673627]
    at('cosine', 2, 6).forEach((rate, i) => expect(rate).toBeCloseTo(wanted[i]!, 12))
  })
  it('is constant after the warm-up', () => {
    expect(at('constant', 1, 3)).toEqual([0, 1, 1])
    expect(at('constant', 0, 2)).toEqual([1, 1])
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
