/** Range tests: where they end, what they suggest, and what a rehearsal says. */
import { describe, expect, test } from 'vitest'
import { rangeIsOver, rangeRate, rehearsalVerdict, roundRate, suggestRate } from '../../../src/insight/rehearsal'
import type { Rehearsal, RehearsalStep } from '../../../src/shared/judgement'

/** A curve that is flat, falls around a rate, and blows up a decade later; with a little deterministic noise. */
function sweep(best: number, steps = 60, noise = 0.05): RehearsalStep[] {
  return Array.from({ length: steps }, (_, i) => {
    const learningRate = rangeRate(i + 1, steps)
    const decades = Math.log10(learningRate / best)
    const fall = 2 / (1 + Math.exp(-4 * decades))
    const rise = decades > 1 ? 6 * (decades - 1) ** 2 : 0
    return { step: i + 1, learningRate, loss: 5 - fall + rise + noise * Math.sin(i * 7.3) }
  })
}

function rehearsal(kind: Rehearsal['kind'], losses: number[], suggested: number | null = null): Rehearsal {
  const steps = losses.map((loss, i) => ({ step: i + 1, loss, learningRate: 1e-3 }))
  const cost = { stepTime: 100, evalTime: 0, tokensPerSecond: 500, seconds: 240, memory: 1e6 }
  return { kind, steps, ...cost, totalSteps: 2400, suggested }
}

describe('a range test', () => {
  test('goes from low to high on a logarithmic scale', () => {
    expect(rangeRate(1, 60)).toBeCloseTo(1e-5, 12)
    expect(rangeRate(60, 60)).toBeCloseTo(1, 12)
    expect(rangeRate(31, 61)).toBeCloseTo(Math.sqrt(1e-5), 6)
  })

  test.each([1e-4, 1e-3, 5e-3, 3e-2])('suggests a rate past the fall at %d, well before it blows up', (fall) => {
    const rate = suggestRate(sweep(fall)) as number
    expect(rate).toBeGreaterThan(1.5 * fall)
    expect(rate).toBeLessThan(6 * fall)
  })

  test('says nothing where the loss never falls', () => {
    expect(suggestRate(sweep(100).map((step) => ({ ...step, loss: 5 + 0.01 * Math.sin(step.step) })))).toBeNull()
  })

  test('ends once the loss has run away, and not on the way down', () => {
    const all = sweep(1e-3)
    const end = all.findIndex((_, i) => rangeIsOver(all.slice(0, i + 1)))
    expect(end).toBeGreaterThan(40)
    expect(rangeIsOver([...all.slice(0, 5), { step: 6, learningRate: 1, loss: Number.NaN }])).toBe(true)
  })

  test('rates are round', () => {
    expect([roundRate(0.00046), roundRate(0.006), roundRate(0.8), roundRate(0.00013)]).toEqual([5e-4, 0.005, 1, 1e-4])
  })
})

describe('what a rehearsal says', () => {
  test('time, learning, rising, nothing', () => {
    expect(rehearsalVerdict(rehearsal('time', [5, 5]), 1e-3).text).toContain('about 4 min')
    const falling = Array.from({ length: 20 }, (_, i) => 5 - i / 10)
    expect(rehearsalVerdict(rehearsal('smoke', falling), 1e-3)).toMatchObject({ tone: 'good' })
    expect(rehearsalVerdict(rehearsal('smoke', falling.toReversed()), 1e-3).tone).toBe('poor')
    expect(rehearsalVerdict(rehearsal('smoke', [5, Number.NaN, 5, 5]), 1e-3).tone).toBe('poor')
  })

  test('a rate that suits is left alone, another is offered', () => {
    expect(rehearsalVerdict(rehearsal('range', [5], 2e-3), 1e-3).change).toBeUndefined()
    expect(rehearsalVerdict(rehearsal('range', [5], 1e-2), 1e-3).change).toEqual({ learningRate: 1e-2 })
  })
})
