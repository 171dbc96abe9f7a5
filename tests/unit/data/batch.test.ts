import { describe, expect, it, vi } from 'vitest'
import { createBatches, datasetStats, prepare, previewRow, splitRows, type RawRow } from '../../../src/data'
import { judge } from '../../../src/data/stats'
import type { EncodedRow, Mapping } from '../../../src/shared/records'
import { byteModel, CHATML, refusal } from './support'

vi.setConfig({ testTimeout: 60_000 })

const encoded = (count: number): EncodedRow[] =>
  Array.from({ length: count }, (_, index) => ({ index, inputIds: new Int32Array(1), labels: new Int32Array(1) }))
const sorted = (values: number[]) => [...values].sort((a, b) => a - b)
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i)

describe('splitRows', () => {
  it.each([
    [100, 0.1, 10],
    [2, 0.1, 1],
    [3, 0.01, 1],
    [2, 1, 1],
    [1, 0.5, 0],
    [50, 0, 0],
    [0, 0.5, 0],
  ])('%i rows at %d: %i for validation', (count, fraction, held) => {
    const split = splitRows(count, fraction, 1)
    expect(split.eval).toHaveLength(held)
    expect(sorted([...split.train, ...split.eval])).toEqual(upTo(count))
    expect(split.train).toEqual(sorted(split.train))
  })

  it('follows from the seed', () => {
    expect(splitRows(1000, 0.1, 5)).toEqual(splitRows(1000, 0.1, 5))
    expect(splitRows(1000, 0.1, 5).eval).not.toEqual(splitRows(1000, 0.1, 6).eval)
  })
})

describe('createBatches', () => {
  const take = (source: ReturnType<typeof createBatches>, batches: number) =>
    upTo(batches).flatMap(() => source.next().map((row) => row.index))

  it('goes through every row once a pass, in a new order each pass, wrapping inside batches', () => {
    const source = createBatches(encoded(10), { batchSize: 4, shuffle: true, seed: 3 })
    const seen = take(source, 10)
    for (const pass of upTo(4)) expect(sorted(seen.slice(pass * 10, pass * 10 + 10))).toEqual(upTo(10))
    expect(seen.slice(0, 10)).not.toEqual(seen.slice(10, 20))
    expect(source.cursor()).toEqual({ position: 40, seed: 3 })
  })

  it('takes file order without shuffling, and may be larger than the dataset', () => {
    expect(take(createBatches(encoded(3), { batchSize: 7, shuffle: false, seed: 1 }), 1)).toEqual([0, 1, 2, 0, 1, 2, 0])
  })

  it('goes on exactly from every cursor', () => {
    const options = { batchSize: 3, shuffle: true, seed: 9 }
    const source = createBatches(encoded(7), options)
    for (const _ of upTo(12)) {
      const cursor = source.cursor()
      const resumed = createBatches(encoded(7), { ...options, seed: 0 })
      resumed.restore(JSON.parse(JSON.stringify(cursor)) as typeof cursor)
      expect(take(resumed, 5)).toEqual(take(source, 5))
      source.restore(cursor)
      source.next()
    }
  })

  it('refuses to begin without rows', () => {
    expect(() => createBatches([], { batchSize: 1, shuffle: true, seed: 1 })).toThrow('no rows')
  })
})

const PAIRS: Mapping = { format: 'pair', columns: { prompt: 'prompt', completion: 'completion' } }
const job = { maxLength: 64, trainOn: 'completion', evalFraction: 0.2, seed: 1 } as const
const pairs: RawRow[] = upTo(20).map((i) => ({ prompt: `p${i}`, completion: `c${i}` }))

describe('prepare', () => {
  it('keeps row numbers, sets rows aside with reasons and splits the rest', async () => {
    const { tokenizer, template } = await byteModel()
    const rows = [...pairs, { prompt: 'x' }, { prompt: 'y'.repeat(100), completion: 'z' }]
    const result = await prepare(rows, PAIRS, tokenizer, template, job)
    expect(result.eval).toHaveLength(4)
    expect(sorted([...result.train, ...result.eval].map((row) => row.index))).toEqual(upTo(20))
    expect(result.skipped).toMatchObject([{ index: 20, reason: 'The column "completion" is missing.' }, { index: 21 }])
    expect(result.skipped[1]?.reason).toContain('cuts the whole answer off')
  })

  it('takes validation rows of their own, and rows from a store', async () => {
    const { tokenizer, template } = await byteModel()
    async function* stored() {
      yield* pairs
    }
    const result = await prepare(stored(), PAIRS, tokenizer, template, job, {
      evaluation: { rows: pairs.slice(0, 3), mapping: PAIRS },
    })
    expect(result.train).toHaveLength(20)
    expect(result.eval).toHaveLength(3)
  })

  it('refuses a run that could learn nothing, and stops when asked', async () => {
    const { tokenizer, template } = await byteModel(CHATML)
    const run = (rows: RawRow[], mapping: Mapping, signal?: AbortSignal) =>
      refusal(prepare(rows, mapping, tokenizer, template, job, { signal }))
    expect(await run([], PAIRS)).toMatchObject({ code: 'data.empty' })
    expect(
      await run([{ messages: [{ role: 'user', content: 'alone' }] }], {
        format: 'chat',
        columns: { messages: 'messages' },
      }),
    ).toMatchObject({
      code: 'data.no-trained-tokens',
      where: 'row 1',
    })
    expect(await run(pairs, { format: 'unknown', columns: {} })).toMatchObject({ code: 'data.columns' })
    expect(await run(pairs, PAIRS, AbortSignal.abort())).toMatchObject({ code: 'cancelled' })
  })
})

describe('datasetStats', () => {
  it('counts lengths, cuts, repeats and contradictions', async () => {
    const { tokenizer, template } = await byteModel()
    const rows = [
      ...pairs,
      pairs[0] as RawRow,
      { prompt: 'p1', completion: 'other' },
      { prompt: 'p2', completion: 'c'.repeat(100) },
      { prompt: 'p3' },
    ]
    const stats = await datasetStats(rows, PAIRS, tokenizer, template, job)
    expect(stats).toMatchObject({
      rows: 24,
      truncatedRows: 1,
      emptyRows: 1,
      duplicateRows: 1,
      conflictingPrompts: 2,
      trainRows: 18,
      evalRows: 5,
    })
    expect(stats.lengths).toMatchObject({ min: 6, median: 8, max: 104 })
    expect(stats.lengths.histogram.reduce((sum, bar) => sum + bar.rows, 0)).toBe(23)
    const whole = await datasetStats(rows, PAIRS, tokenizer, template, { ...job, maxLength: 1000 })
    expect(whole.tokens - stats.tokens).toBe(104 - 64)
    expect(whole.trainedTokens - stats.trainedTokens).toBe(104 - 64)
  })

  it('says how much is enough and what to mend first', () => {
    const counts = (rows: number, faults: object = {}) => ({
      rows,
      tokens: 0,
      trainedTokens: 0,
      lengths: { min: 0, median: 0, p95: 0, max: 0, histogram: [] },
      truncatedRows: 0,
      emptyRows: 0,
      duplicateRows: 0,
      conflictingPrompts: 0,
      trainRows: rows,
      evalRows: 0,
      ...faults,
    })
    expect(judge(counts(1000))).toEqual({ tone: 'good', verdict: '1,000 good rows: enough for most tasks.' })
    expect(judge(counts(5)).tone).toBe('poor')
    expect(judge(counts(91)).tone).toBe('fair')
    expect(judge(counts(1000, { conflictingPrompts: 200 }))).toEqual({
      tone: 'fair',
      verdict: '1,000 good rows: enough for most tasks. Mend first: 200 prompts with different answers.',
    })
    expect(judge(counts(10, { emptyRows: 10 }))).toMatchObject({ tone: 'poor' })
  })
})

describe('previewRow', () => {
  it('shows each token, what is learnt and what is wrong', async () => {
    const { tokenizer, template } = await byteModel()
    const options = { maxLength: 6, trainOn: 'completion' } as const
    const row = previewRow({ prompt: 'ab', completion: 'cde' }, 7, PAIRS, tokenizer, template, options)
    expect(row).toMatchObject({ index: 7, truncated: 1, trainedTokens: 3 })
    expect(row.tokens.map((token) => token.text).join('|')).toBe('<s>|a|b|c|d|e')
    expect(row.tokens.map((token) => token.trained)).toEqual([false, false, false, true, true, true])
    expect(row.tokens[0]?.special).toBe(true)
    expect(previewRow({ prompt: 'ab' }, 0, PAIRS, tokenizer, template, options)).toMatchObject({
      tokens: [],
      problem: 'The column "completion" is missing.',
    })
  })
})
