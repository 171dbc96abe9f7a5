import { describe, expect, it } from 'vitest'
import { MetricBuffer } from '../../../src/shared/metrics'
import { spanLinear } from '../../../src/ui/chart-drawing'
import { bySteps, curvesOf, nearest, reach } from '../../../src/ui/curves'

function run(steps: number, evalEvery: number): MetricBuffer {
  const metrics = new MetricBuffer()
  for (let step = 1; step <= steps; step++) {
    metrics.push({ step, epoch: step / 100, time: step * 500, loss: 5 - step / steps, gradNorm: 1, learningRate: 1e-3 })
    // As the engine writes it: an evaluation is a row of its own.
    if (step % evalEvery === 0) metrics.push({ step, epoch: step / 100, time: step * 500, evalLoss: 6 - step / steps })
  }
  return metrics
}

describe('curves of a run', () => {
  it('have one entry a step, evaluations joined to theirs', () => {
    const rows = bySteps(run(10, 5))
    expect(rows.step).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    expect(rows.loss[4]).toBeCloseTo(4.5)
    expect(rows.evalLoss[4]).toBeCloseTo(5.5)
    expect(rows.evalLoss[5]).toBeNaN()
  })

  it('leave gaps where nothing was measured', () => {
    const { valid, raw } = curvesOf(run(6, 3), 'step', 0)
    expect(valid.map((value) => value !== null)).toEqual([false, false, true, false, false, true])
    expect(raw.every((value) => value !== null)).toBe(true)
  })

  it('go along steps, epochs or seconds', () => {
    const metrics = run(4, 2)
    expect(curvesOf(metrics, 'step', 0).x).toEqual([1, 2, 3, 4])
    expect(curvesOf(metrics, 'epoch', 0).x).toEqual([0.01, 0.02, 0.03, 0.04])
    expect(curvesOf(metrics, 'time', 0).x).toEqual([0.5, 1, 1.5, 2])
  })

  it('have rewards only in runs over preferences', () => {
    expect(curvesOf(run(6, 3), 'step', 0).rewards).toBeNull()
    const metrics = new MetricBuffer()
    metrics.push({ step: 1, loss: 1, rewardMargin: 0.5, rewardAccuracy: 0.75 })
    metrics.push({ step: 1, evalLoss: 1, evalRewardMargin: 0.25, evalRewardAccuracy: 0.5 })
    const rewards = { margin: [0.5], validMargin: [0.25], accuracy: [0.75], validAccuracy: [0.5] }
    expect(curvesOf(metrics, 'step', 0).rewards).toEqual(rewards)
  })

  it('are thinned without losing an evaluation', () => {
    const { x, valid } = curvesOf(run(20_000, 250), 'step', 0.9)
    expect(x.length).toBeLessThan(4200)
    expect(valid.filter((value) => value !== null)).toHaveLength(80)
    expect(x[0]).toBe(1)
    expect(x.at(-1)).toBe(20_000)
  })
})

describe('the sweep', () => {
  it('reaches a binary fraction of the run and changes it in jumps', () => {
    expect([1, 3, 6, 20, 49, 60, 99].map((step) => reach(step, 100))).toEqual([1.5625, 3.125, 6.25, 25, 50, 100, 100])
    expect(reach(7, 0)).toBe(7)
  })
})

describe('the nearest entry', () => {
  it('is found on both sides', () => {
    expect([0, 4, 5.9, 7.4, 100].map((value) => nearest([1, 5, 7, 8], value))).toEqual([0, 1, 1, 2, 3])
  })
})

describe('the span of an axis', () => {
  it('is never as thin as a rounding error', () => {
    for (const value of [1, 1e-4, -3, 0]) {
      const [low, high] = spanLinear(value, value * (1 + 2e-16))
      expect(high - low).toBeGreaterThan(0.01 * Math.abs(value))
    }
    expect(spanLinear(1, 3)).toEqual([0.84, 3.16])
  })
})
