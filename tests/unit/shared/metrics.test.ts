import { describe, expect, it } from 'vitest'
import {
  decimate,
  MetricBuffer,
  metricsToCsv,
  metricsToRows,
  smooth,
  type MetricColumns,
} from '../../../src/shared/metrics'

describe('MetricBuffer', () => {
  it('grows and keeps what was not measured as NaN', () => {
    const buffer = new MetricBuffer()
    for (let step = 1; step <= 200; step++) buffer.push({ step, loss: 1 / step })
    expect(buffer.length).toBe(200)
    expect(buffer.column('loss')[199]).toBe(1 / 200)
    expect(buffer.column('evalLoss')[0]).toBeNaN()
  })

  it('sends rows from an index on and takes them in again', () => {
    const buffer = new MetricBuffer()
    for (let step = 1; step <= 5; step++) buffer.push({ step, loss: step })
    const copy = new MetricBuffer(buffer.slice(0))
    copy.append(buffer.slice(3))
    expect([...copy.column('step')]).toEqual([1, 2, 3, 4, 5, 4, 5])
  })

  it('forgets rows after a step', () => {
    const buffer = new MetricBuffer()
    for (const step of [1, 2, 2, 3]) buffer.push({ step })
    buffer.truncateAfter(2)
    expect([...buffer.column('step')]).toEqual([1, 2, 2])
  })

  it('takes columns of earlier versions, and writes rewards only where there are any', () => {
    const old = new MetricBuffer()
    old.push({ step: 1, loss: 2 })
    const { rewardMargin: _margin, ...columns } = old.slice()
    const read = new MetricBuffer(columns as MetricColumns)
    expect(read.column('rewardMargin')).toEqual(Float64Array.of(Number.NaN))
    expect(metricsToCsv(read)).not.toContain('reward')
    read.push({ step: 2, loss: 1, rewardAccuracy: 0.5 })
    expect(metricsToCsv(read).split('\n')[0]).toMatch(/memory,rewardAccuracy$/)
  })

  it('writes CSV and rows without inventing values', () => {
    const buffer = new MetricBuffer()
    buffer.push({ step: 1, loss: 2.5 })
    buffer.push({ step: 1, evalLoss: 2 })
    const [header, first, second] = metricsToCsv(buffer).split('\n')
    expect(header).toBe('step,epoch,time,loss,evalLoss,learningRate,gradNorm,tokens,stepTime,memory')
    expect(first).toBe('1,,,2.5,,,,,,')
    expect(second).toBe('1,,,,2,,,,,')
    expect(metricsToRows(buffer)).toEqual([
      { step: 1, loss: 2.5 },
      { step: 1, evalLoss: 2 },
    ])
  })
})

describe('smooth', () => {
  it('corrects the bias of the start: a constant stays itself', () => {
    for (const value of smooth([3, 3, 3, 3], 0.9)) expect(value).toBeCloseTo(3, 12)
  })

  it('passes over what is not finite', () => {
    const result = smooth([1, Number.NaN, 3], 0.5)
    expect(result[0]).toBe(1)
    expect(result[1]).toBeNaN()
    // (1·0.5·0.5 + 3·0.5) / (1 - 0.25)
    expect(result[2]).toBeCloseTo((0.25 + 1.5) / 0.75, 12)
  })
})

describe('decimate', () => {
  it('keeps ends and extremes', () => {
    const values = Float64Array.from({ length: 10_000 }, (_, i) => Math.sin(i / 100))
    values[5123] = 9
    values[777] = -9
    const kept = decimate(values, 200)
    expect(kept.length).toBeLessThanOrEqual(200)
    for (const index of [0, 777, 5123, 9999]) expect(kept).toContain(index)
    expect([...kept].sort((a, b) => a - b)).toEqual(kept)
  })
})
