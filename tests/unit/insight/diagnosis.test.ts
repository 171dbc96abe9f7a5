import { describe, expect, it } from 'vitest'
import { diagnose, type Verdict } from '../../../src/insight/diagnosis'
import { checkSetting, completeJob, type SettingKey } from '../../../src/shared/job'
import { MetricBuffer } from '../../../src/shared/metrics'
import { library, recordings, type Curve } from './library'

const SEEDS = [1, 2, 3, 4, 5]
const miss = (curve: Curve, verdict: Verdict) => `${curve.name}: ${curve.cause}, taken for ${verdict}`

describe('diagnose', () => {
  it('is right about nine in ten curves of the library, whatever the noise', () => {
    expect(library(1).length).toBeGreaterThanOrEqual(40)
    const causes = new Set(library(1).map(({ cause }) => cause))
    const known = ['healthy', 'overfitting', 'underfitting', 'diverging', 'noisy', 'plateau', 'slow', 'zero-loss']
    expect([...causes].sort()).toEqual([...known, 'masked', 'order', 'too-early'].sort())
    for (const seed of SEEDS) {
      const curves = library(seed)
      const missed = curves.filter((curve) => diagnose(curve.metrics, curve.job).verdict !== curve.cause)
      const names = missed.map((curve) => miss(curve, diagnose(curve.metrics, curve.job).verdict))
      expect(missed.length, names.join('\n')).toBeLessThanOrEqual(Math.floor(curves.length / 10))
    }
  })

  it('is right about recorded runs', () => {
    expect(recordings().length).toBeGreaterThanOrEqual(7)
    for (const { name, cause, metrics, job } of recordings()) {
      const { verdict, change, evidence } = diagnose(metrics, job)
      expect(verdict, name).toBe(cause)
      expect(change === undefined, name).toBe(cause === 'healthy')
      expect(evidence.length, name).toBeGreaterThan(0)
    }
  })

  it('is right about nine in ten of each cause', () => {
    const all = SEEDS.flatMap((seed) => library(seed))
    for (const cause of new Set(all.map((curve) => curve.cause))) {
      const own = all.filter((curve) => curve.cause === cause)
      const missed = own.filter((curve) => diagnose(curve.metrics, curve.job).verdict !== cause)
      expect(
        missed.length,
        missed.map((curve) => miss(curve, diagnose(curve.metrics, curve.job).verdict)).join('\n'),
      ).toBeLessThanOrEqual(own.length / 10)
    }
  })

  it('is silent on healthy curves', () => {
    const loud = SEEDS.flatMap((seed) => library(seed))
      .filter((curve) => curve.cause === 'healthy')
      .filter((curve) => diagnose(curve.metrics, curve.job).change !== undefined)
    expect(loud.map((curve) => miss(curve, diagnose(curve.metrics, curve.job).verdict))).toEqual([])
  })

  it('never takes a healthy run for overfitting or the other way round while it goes on', () => {
    for (const curve of library(9).filter(({ cause }) => cause === 'healthy')) {
      for (let steps = 5; steps < curve.metrics.length; steps += 11) {
        const part = new (curve.metrics.constructor as new () => typeof curve.metrics)()
        part.append(curve.metrics.slice())
        part.truncateAfter(steps)
        expect(['healthy', 'too-early', 'slow', 'noisy'], `${curve.name} at ${steps}`).toContain(
          diagnose(part, curve.job).verdict,
        )
      }
    }
  })

  it('says since when the validation loss stands still, and only where it does', () => {
    const text = (evalLoss: (step: number) => number) => {
      const metrics = new MetricBuffer()
      for (let step = 1; step <= 200; step++) {
        const loss = 0.4 + 4 * Math.exp(-step / 50)
        metrics.push({ step, epoch: step / 67, time: step, loss, learningRate: 1e-3, gradNorm: 1 })
        if (step % 20 === 0) metrics.push({ step, evalLoss: evalLoss(step) })
      }
      const { verdict, text, change } = diagnose(metrics, completeJob({ model: 'm', data: 'd', steps: 200 }))
      expect([verdict, change]).toEqual(['healthy', undefined])
      return text
    }
    expect(text((step) => 1.18 + Math.max(0, 140 - step) / 60)).toContain('stood at about 1.18 since step 140')
    expect(text((step) => 1.18 + (200 - step) / 60)).toBe('Training and validation fall together, as they should.')
  })

  it('shows steps of the run as evidence, and proposes only valid settings', () => {
    for (const { name, metrics, job, cause } of library(3)) {
      const { evidence, change, changeText, text } = diagnose(metrics, job)
      const last = metrics.column('step').at(-1) ?? 0
      for (const { from, to } of evidence) {
        expect(from, name).toBeGreaterThanOrEqual(1)
        expect(to, name).toBeGreaterThanOrEqual(from)
        expect(to, name).toBeLessThanOrEqual(last)
      }
      expect(text.length).toBeGreaterThan(10)
      expect(change === undefined, name).toBe(changeText === undefined)
      for (const [key, value] of Object.entries(change ?? {}))
        expect(checkSetting(key as SettingKey, value), `${name} ${key}`).toBeNull()
      if (['diverging', 'slow', 'overfitting', 'noisy', 'order', 'plateau', 'underfitting', 'masked'].includes(cause))
        expect(change).toBeDefined()
    }
  })
})
