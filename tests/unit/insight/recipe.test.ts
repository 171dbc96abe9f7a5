import { describe, expect, it, vi } from 'vitest'
import { parametersPerRank, recommend, type RowFacts } from '../../../src/insight/recipe'
import { completeJob, SETTINGS, type SettingKey } from '../../../src/shared/job'
import type { DeviceReport, ModelRecord } from '../../../src/shared/records'

vi.setConfig({ testTimeout: 60_000 })

const model = (parameters: number, context = 2048): ModelRecord => ({
  id: 'local:x',
  name: 'x',
  family: 'llama',
  parameters,
  vocabulary: 1000,
  context,
  layers: 2,
  hidden: 128,
  bytes: 0,
  dtype: 'F32',
  hasChatTemplate: false,
  addedAt: 0,
  shape: {
    hiddenSize: 128,
    intermediateSize: 384,
    layers: 2,
    heads: 8,
    kvHeads: 4,
    headDim: 16,
    vocabulary: 1000,
    tiedHead: true,
  },
})

const facts = (rows: number, p95 = 60, max = 80, trainedTokens = rows * 20): RowFacts => ({
  rows,
  trainRows: rows,
  tokens: rows * 40,
  trainedTokens,
  lengths: { min: 5, median: p95 / 2, p95, max, histogram: [] },
})
const device = { backend: 'webgpu', software: false } as DeviceReport

describe('recommend', () => {
  it.each([
    [656_000, 1e-2],
    [3_200_000, 5e-3],
    [30_000_000, 1e-3],
    [135_000_000, 5e-4],
  ])('gives a model of %i parameters the rate %d', (parameters, rate) => {
    expect(recommend(model(parameters), facts(500)).change.learningRate).toBe(rate)
  })

  it('learns preferences from pairs and ratings, at a lower rate', () => {
    const pairs = recommend(model(3_200_000), { ...facts(500), format: 'preference' }).change
    expect(pairs).toMatchObject({ objective: 'dpo', learningRate: 5e-4, sftWeight: 1 })
    expect(recommend(model(1e9), { ...facts(500), format: 'kto' }).change).toMatchObject({
      objective: 'kto',
      learningRate: 2e-5,
    })
    expect(recommend(model(1e9), { ...facts(500), format: 'chat' }).change.objective).toBeUndefined()
    const own = new Set<SettingKey>(['objective'])
    expect(
      recommend(model(1e9), { ...facts(500), format: 'preference' }, undefined, own).change.objective,
    ).toBeUndefined()
  })

  it('leaves the default rate to large models', () => {
    expect(recommend(model(1.1e9), facts(500)).change.learningRate).toBeUndefined()
  })

  it('has one reason with a source for every change, and only valid values', () => {
    for (const rows of [1, 20, 91, 500, 5000, 100_000]) {
      for (const parameters of [1e5, 3e6, 5e8]) {
        for (const [p95, max] of [
          [10, 12],
          [300, 4000],
          [3000, 3100],
        ] as const) {
          const { change, reasons } = recommend(model(parameters), facts(rows, p95, max), device)
          expect(reasons.map((reason) => reason.key).sort()).toEqual(Object.keys(change).sort())
          for (const reason of reasons)
            expect([reason.text.length > 10, reason.source.length > 3]).toEqual([true, true])
          expect(() => completeJob(change)).not.toThrow()
          expect(change.warmupRatio).toBeLessThanOrEqual(0.1)
        }
      }
    }
  })

  it('fits the length to the rows, to outliers and to the model', () => {
    expect(recommend(model(1e6), facts(500, 60, 80)).change.maxLength).toBe(96)
    expect(recommend(model(1e6), facts(500, 60, 4000)).change.maxLength).toBe(64)
    expect(recommend(model(1e6, 256), facts(500, 900, 1000)).change.maxLength).toBe(256)
  })

  it('keeps the effective batch when rows are long', () => {
    const short = recommend(model(1e6), facts(5000, 60)).change
    const long = recommend(model(1e6), facts(5000, 1000, 1200)).change
    expect((short.batchSize ?? 4) * (short.gradAccum ?? 1)).toBe(16)
    expect((long.batchSize ?? 4) * (long.gradAccum ?? 1)).toBe(16)
    expect((long.batchSize ?? 4) * 1000).toBeLessThanOrEqual(4096)
  })

  it('rests a step on enough tokens to learn, and a small set on enough steps', () => {
    const size = (rows: number, perRow: number) => {
      const { change } = recommend(model(1e6), facts(rows, 60, 80, rows * perRow))
      return [(change.batchSize ?? 4) * (change.gradAccum ?? 1), change.epochs ?? 3]
    }
    expect(size(90, 16)).toEqual([16, 20])
    expect(size(90, 300)).toEqual([4, 7])
    expect(size(600, 40)).toEqual([8, 3])
    expect(size(600, 3)).toEqual([16, 4])
    expect(size(20_000, 40)).toEqual([16, 1])
  })

  it('raises the rank when there is much to learn', () => {
    const perRank = parametersPerRank(model(1e6).shape)
    expect(perRank).toBe(2 * (2 * (128 + 128) + 2 * (128 + 64) + 3 * (128 + 384)))
    expect(recommend(model(1e6), facts(5000, 60, 80, 2 * 20 * perRank)).change).toMatchObject({ rank: 32, alpha: 64 })
    expect(recommend(model(1e6), facts(5000, 60, 80, 1000)).change.rank).toBeUndefined()
  })

  it('leaves alone what a person has set, and what hangs on it', () => {
    const all = new Set(Object.keys(SETTINGS) as SettingKey[])
    expect(recommend(model(1e6), facts(91), device, all)).toEqual({ change: {}, reasons: [] })
    const { change } = recommend(model(1e6), facts(91), device, new Set(['learningRate', 'steps', 'batchSize', 'rank']))
    expect(Object.keys(change).sort()).toEqual(['maxLength'])
  })
})
