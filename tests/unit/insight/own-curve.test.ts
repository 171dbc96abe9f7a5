/** Help on a person's own curve: what it says is true of that curve, and what it marks lies on it. */
import { describe, expect, it } from 'vitest'
import { onOwnCurve, SHOWN } from '../../../src/insight/own-curve'
import { completeJob, defaultJob, type Job, type SettingKey } from '../../../src/shared/job'
import { MetricBuffer } from '../../../src/shared/metrics'
import { library, recordings } from './library'

/** Falls until step 60, then stands; validation is best at step 40. Gradients of steps 1 to 10 are large. */
function run(): MetricBuffer {
  const metrics = new MetricBuffer()
  for (let step = 1; step <= 100; step++) {
    const at = { step, epoch: step / 20, time: step }
    const loss = Math.max(0.4, 3 - step / 20) + (step % 2 ? 0.1 : -0.1)
    metrics.push({ ...at, loss, gradNorm: step <= 10 ? 5 : 0.5, learningRate: 1e-3 * (1 - step / 100) })
    if (step % 10 === 0) metrics.push({ ...at, evalLoss: 1 + Math.abs(step - 40) / 100 })
  }
  return metrics
}
const past = completeJob({ batchSize: 4, steps: 100, learningRate: 1e-3 })
const tell = (key: SettingKey, change: Partial<Job> = {}) => onOwnCurve(key, { ...past, ...change }, past, run())

describe('a setting on an own curve', () => {
  it('shows where a run was best, and where patience would have ended it', () => {
    expect(tell('epochs')).toMatchObject({ marks: [{ from: 40, to: 100 }] })
    expect(tell('epochs')?.text).toContain('best at step 40 of 100, after 2.00 epochs')
    expect(tell('earlyStop', { earlyStop: 2 })).toMatchObject({ marks: [{ from: 60, to: 100 }] })
    expect(tell('earlyStop', { earlyStop: 20 })?.text).toContain('gone on to its end')
    expect(tell('earlyStop', { earlyStop: 0 })).toBeNull()
  })

  it('counts the steps that a clip would cut', () => {
    expect(tell('clip', { clip: 1 })).toEqual({
      text: 'At 1, 10% of the steps of this run would have been cut.',
      marks: [{ from: 1, to: 10, text: 'cut' }],
    })
    expect(tell('clip', { clip: 10 })?.marks).toEqual([])
  })

  it('halves the jumps with four times the rows', () => {
    const jumps = [.../±([\d.]*\d).*±([\d.]*\d)/.exec(tell('batchSize', { batchSize: 16 })?.text ?? '')!]
      .slice(1)
      .map(Number)
    expect(jumps[0]! / jumps[1]!).toBeCloseTo(2, 1)
  })

  it('shows warm-up, the low rates, the fall and the gap', () => {
    expect(tell('warmupRatio', { warmupRatio: 0.1 })?.marks).toEqual([{ from: 1, to: 10, text: 'warm-up' }])
    expect(tell('schedule')?.marks[0]?.from).toBeGreaterThan(48)
    expect(tell('learningRate')?.text).toContain('did not run away')
    expect(tell('dropout')?.text).toContain('learnt by heart, which')
  })

  it('says of a rate that is too low or too high that it is', () => {
    const named = (cause: string) => library(1).find((curve) => curve.cause === cause)!
    const of = ({ job, metrics }: ReturnType<typeof named>) => onOwnCurve('learningRate', job, job, metrics)?.text
    expect(of(named('slow'))).toContain('too low')
    expect(of(named('diverging'))).toContain('too high')
  })

  it('marks only steps of the run, whatever the run', () => {
    for (const { name, job, metrics } of [...library(2), ...recordings()]) {
      const last = metrics.column('step').at(-1) ?? 0
      for (const key of SHOWN) {
        const effect = onOwnCurve(key, { ...defaultJob(), warmupRatio: 0.1 }, job, metrics)
        expect(effect?.text ?? '', `${name} ${key}`).not.toMatch(/NaN|undefined|Infinity/)
        for (const { from, to } of effect?.marks ?? []) {
          expect(from, `${name} ${key}`).toBeGreaterThanOrEqual(1)
          expect(to, `${name} ${key}`).toBeGreaterThanOrEqual(from)
          expect(to, `${name} ${key}`).toBeLessThanOrEqual(last)
        }
      }
    }
  })

  it('has nothing to say of a run of a few steps', () => {
    expect(onOwnCurve('learningRate', past, past, new MetricBuffer())).toBeNull()
  })
})
