import { describe, expect, it } from 'vitest'
import { batchShares, forecast } from '../../../src/engine/memory'
import { parametersPerRank, recommend, RECOMMENDED, type RowFacts } from '../../../src/insight/recipe'
import { completeJob, defaultJob } from '../../../src/shared/job'
import type { DeviceReport, ModelRecord, ModelShape } from '../../../src/shared/records'

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

/** Shares of the memory that 1 to 16 rows take. */
const MEMORY = Array.from({ length: 16 }, (_, i) => 0.05 * (i + 1))
const SMOLLM: ModelShape = {
  ...{ hiddenSize: 576, intermediateSize: 1536, layers: 30, heads: 9, kvHeads: 3, headDim: 64 },
  ...{ vocabulary: 49152, tiedHead: true },
}

describe('recommend', () => {
  it.each([
    [656_000, 1e-2],
    [3_200_000, 5e-3],
    [30_000_000, 1e-3],
    [135_000_000, 5e-4],
  ])('gives a model of %i parameters the rate %d', (parameters, rate) => {
    expect(recommend(model(parameters), facts(500)).change.learningRate).toBe(rate)
  })

  it.each([
    ['ia3', 0.1, 8e-3],
    ['prompt', 0.1, 3e-2],
    ['prefix', 5e-2, 1e-2],
    ['bottleneck', 5e-3, 2e-4],
  ] as const)('gives %s a rate of its own', (method, small, large) => {
    expect(recommend(model(3_200_000), facts(500), { given: { method } }).change.learningRate).toBe(small)
    expect(recommend(model(1e9), facts(500), { given: { method } }).change.learningRate).toBe(large)
  })

  it('learns preferences from pairs and ratings, at a lower rate', () => {
    const pairs = recommend(model(3_200_000), { ...facts(500), format: 'preference' }).change
    expect(pairs).toMatchObject({ objective: 'dpo', learningRate: 5e-4, sftWeight: 1 })
    expect(recommend(model(1e9), { ...facts(500), format: 'kto' }).change).toMatchObject({
      objective: 'kto',
      learningRate: 2e-5,
    })
    expect(recommend(model(1e9), { ...facts(500), format: 'chat' }).change.objective).toBeUndefined()
  })

  it('follows an objective that is given', () => {
    const answers = { given: { objective: 'sft' } } as const
    const pairs = recommend(model(1e9), { ...facts(500), format: 'preference' }, answers).change
    expect(pairs).toMatchObject({ learningRate: 2e-4 })
    expect([pairs.objective, pairs.sftWeight]).toEqual([undefined, undefined])
    expect(recommend(model(1e9), facts(500), { given: { objective: 'orpo' } }).change.learningRate).toBe(2e-5)
  })

  it('gives large models the usual rate, and says so', () => {
    const { change, reasons } = recommend(model(1.1e9), facts(500))
    expect(change.learningRate).toBe(defaultJob().learningRate)
    expect(reasons.find(({ key }) => key === 'learningRate')?.source).toContain('TRL')
  })

  it('has one reason with a source for every change, and only valid values', () => {
    for (const rows of [1, 20, 91, 500, 5000, 100_000]) {
      for (const parameters of [1e5, 3e6, 5e8]) {
        for (const [p95, max] of [
          [10, 12],
          [300, 4000],
          [3000, 3100],
        ] as const) {
          const { change, reasons } = recommend(model(parameters), facts(rows, p95, max), { memory: MEMORY })
          expect(reasons.map((reason) => reason.key).sort()).toEqual(Object.keys(change).sort())
          for (const reason of reasons)
            expect([reason.text.length > 10, reason.source.length > 3]).toEqual([true, true])
          expect(() => completeJob(change)).not.toThrow()
          expect(RECOMMENDED).toEqual(expect.arrayContaining(Object.keys(change)))
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

  it('fills 70 to 80% of the memory where that is what limits the batch, and adds up to the same rows a step', () => {
    const rowsOf = ({ batchSize = 0, gradAccum = 0 }) => batchSize * gradAccum
    const roomy = recommend(model(1e6), facts(5000), { memory: MEMORY.map((share) => share / 10) }).change
    expect([roomy.batchSize, roomy.gradAccum]).toEqual([16, 1])
    for (let row = 0.03; row < 0.2; row += 0.01) {
      const memory = Array.from({ length: 16 }, (_, i) => 0.2 + row * (i + 1))
      const { change, reasons } = recommend(model(1e6), facts(5000), { memory })
      const { batchSize = 0 } = change
      const share = memory[batchSize - 1] ?? Number.NaN
      expect(share).toBeLessThanOrEqual(0.8)
      if (batchSize < 16) expect(share + row).toBeGreaterThan(0.8)
      expect(Math.abs(rowsOf(change) - 16)).toBeLessThanOrEqual(batchSize / 2)
      expect(reasons.find(({ key }) => key === 'batchSize')?.text).toMatch(/of the memory at hand/)
    }
    // Not even one row fits: one is what can be tried, and the forecast says the rest.
    expect(recommend(model(1e6), facts(5000), { memory: [3, 4] }).change).toMatchObject({ batchSize: 1, gradAccum: 16 })
  })

  it('holds on a real forecast', () => {
    const record = { ...model(134_515_008), shape: SMOLLM }
    const report = { backend: 'webgpu', budget: 2 ** 31 } as DeviceReport
    const job = { ...defaultJob(), maxLength: 1024 }
    const memory = batchShares(record, job, 1000, report)
    expect(memory).toEqual(memory.toSorted((a, b) => a - b))
    const { change } = recommend(record, facts(5000, 900, 1000), { memory })
    const { total } = forecast(record, { ...job, ...change } as typeof job, 1000, report)
    expect(total / report.budget).toBeGreaterThan(0.65)
    expect(total / report.budget).toBeLessThanOrEqual(0.8)
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
    expect(recommend(model(1e6), facts(5000, 60, 80, 1000)).change).toMatchObject({ rank: 16, alpha: 32 })
    expect(recommend(model(1e6), facts(500), { given: { rank: 4 } }).change.alpha).toBe(8)
  })

  it('leaves alone what is given, and counts on it', () => {
    expect(recommend(model(1e6), facts(91), { given: defaultJob() })).toEqual({ change: {}, reasons: [] })
    const { change } = recommend(model(1e6), facts(91), { given: { learningRate: 1, steps: 10, batchSize: 4 } })
    expect(Object.keys(change).sort()).toEqual(['alpha', 'dropout', 'maxLength', 'rank', 'schedule', 'warmupRatio'])
    const epochs = (batchSize: number) =>
      recommend(model(1e6), facts(600), { given: { batchSize, gradAccum: 1 } }).change.epochs
    expect([epochs(1), epochs(32)]).toEqual([3, 8])
  })
})
