import { describe, expect, it } from 'vitest'
import {
  batchesOf,
  createBatches,
  datasetStats,
  mixOf,
  prepare,
  previewRow,
  splitRows,
  type RawRow,
} from '../../../src/data'
import { histogram, judge } from '../../../src/data/stats'
import type { EncodedRow, Mapping } from '../../../src/shared/records'
import { byteModel, CHATML, refusal } from './support'

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

describe('splitRows by keys', () => {
  const classes = upTo(1000).map((i) => (i % 10 === 0 ? 'rare' : i % 3 === 0 ? 'some' : 'most'))
  const share = (rows: number[], name: string) => rows.filter((row) => classes[row] === name).length

  it('holds back the same share of every class', () => {
    const { train, eval: held } = splitRows(1000, 0.15, 4, 'stratified', classes)
    expect(held).toHaveLength(150)
    expect(train.length + held.length).toBe(1000)
    for (const name of ['rare', 'some', 'most']) {
      expect(Math.abs(share(held, name) - 0.15 * share(upTo(1000), name)), name).toBeLessThan(1)
    }
    expect(splitRows(1000, 0.15, 5, 'stratified', classes).eval).not.toEqual(held)
  })

  it('leaves a row of every class for training, and still holds back as many as it should', () => {
    const keys = upTo(20).map((i) => (i < 5 ? `only ${i}` : 'common'))
    const { train, eval: held } = splitRows(20, 0.5, 1, 'stratified', keys)
    expect(held).toHaveLength(10)
    expect(new Set(train.map((row) => keys[row])).size).toBe(6)
  })

  it('never divides a group', () => {
    const groups = upTo(500).map((i) => `group ${(i * 7919) % 60}`)
    for (const seed of upTo(20)) {
      const { train, eval: held } = splitRows(500, 0.2, seed, 'grouped', groups)
      const sides = [train, held].map((side) => new Set(side.map((row) => groups[row])))
      expect([...sides[0]!].filter((group) => sides[1]!.has(group))).toEqual([])
      expect(Math.abs(held.length - 100)).toBeLessThanOrEqual(9)
    }
  })

  it('does not take a group that is nearly everything', () => {
    const groups = upTo(100).map((i) => (i < 90 ? 'huge' : `small ${i}`))
    for (const seed of upTo(10)) {
      const { eval: held } = splitRows(100, 0.05, seed, 'grouped', groups)
      expect(held).toHaveLength(5)
      expect(held.every((row) => row >= 90)).toBe(true)
    }
    expect(splitRows(10, 0.1, 1, 'grouped', upTo(10).map((i) => (i < 9 ? 'a' : 'b'))).eval).toEqual([9]) // prettier-ignore
    expect(splitRows(4, 0.5, 1, 'grouped', ['a', 'a', 'a', 'a']).eval).toEqual([])
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

  const long = (count: number, first = 0): EncodedRow[] =>
    upTo(count).map((i) => ({
      index: first + i,
      inputIds: new Int32Array(1 + ((i * 37) % 101)),
      labels: new Int32Array(1 + ((i * 37) % 101)),
    }))
  const padding = (source: ReturnType<typeof createBatches>, batches: number) => {
    let [room, filled] = [0, 0]
    for (const _ of upTo(batches)) {
      const lengths = source.next().map((row) => row.inputIds.length)
      room += lengths.length * Math.max(...lengths)
      filled += lengths.reduce((sum, length) => sum + length, 0)
    }
    return 1 - filled / room
  }

  it('groups rows of like length: every row once a pass, far less padding, in another order each pass', () => {
    const options = { batchSize: 8, shuffle: true, seed: 3 }
    const source = createBatches(long(403), { ...options, groupByLength: true })
    const seen = take(source, 202)
    for (const pass of upTo(4)) expect(sorted(seen.slice(pass * 403, pass * 403 + 403))).toEqual(upTo(403))
    expect(seen.slice(0, 403)).not.toEqual(seen.slice(403, 806))
    const fresh = () => createBatches(long(403), { ...options, groupByLength: true })
    expect(padding(createBatches(long(403), options), 150)).toBeGreaterThan(0.35)
    expect(padding(fresh(), 150)).toBeLessThan(0.05)
    // not from short to long: the first ten batches are about as long as the next
    const lengths = upTo(20).map(() => fresh()).flatMap((s) => upTo(50).map(() => s.next()[0]!.inputIds.length)) // prettier-ignore
    expect(lengths.slice(0, 10)).not.toEqual([...lengths.slice(0, 10)].sort((a, b) => a - b))
  })

  it('mixes in the shares asked for, going on through them from pass to pass', () => {
    const mixed = [
      { rows: long(50, 1000), share: 0.2 },
      { rows: long(7, 2000), share: 0.3 },
    ]
    for (const shuffle of [true, false]) {
      const source = createBatches(long(100), { batchSize: 10, shuffle, seed: 3 }, mixed)
      expect(source.rows).toBe(200)
      const passes = upTo(5).map(() => take(source, 20))
      for (const pass of passes) {
        expect(sorted(pass.filter((index) => index < 1000))).toEqual(upTo(100))
        expect(pass.filter((index) => index >= 1000 && index < 2000)).toHaveLength(40)
        expect(pass.filter((index) => index >= 2000)).toHaveLength(60)
        // spread over the whole pass
        expect(pass.slice(0, 100).filter((index) => index >= 1000).length).toBeGreaterThan(35)
      }
      const first = [...passes[0]!, ...passes[1]!].filter((index) => index >= 1000 && index < 2000)
      expect(new Set(first).size).toBe(50)
      expect(sorted(passes.flat().filter((index) => index >= 1000 && index < 2000))).toEqual(
        sorted(upTo(4).flatMap(() => upTo(50).map((i) => 1000 + i))),
      )
    }
  })

  it.each([
    { groupByLength: true, shuffle: true },
    { groupByLength: true, shuffle: false },
    { groupByLength: false, shuffle: false },
    { groupByLength: false, shuffle: true },
  ])('goes on exactly from every cursor with a mix: %o', (how) => {
    const make = (seed: number) =>
      createBatches(long(23), { batchSize: 4, seed, ...how }, [{ rows: long(11, 1000), share: 0.25 }])
    const source = make(9)
    for (const _ of upTo(20)) {
      const cursor = source.cursor()
      const resumed = make(0)
      resumed.restore(JSON.parse(JSON.stringify(cursor)) as typeof cursor)
      expect(take(resumed, 7)).toEqual(take(source, 7))
      source.restore(cursor)
      source.next()
    }
  })

  it('refuses shares that leave nothing for the rows themselves', () => {
    const mixed = [{ rows: long(5), share: 0.6 }, { rows: long(5), share: 0.4 }] // prettier-ignore
    expect(() => createBatches(long(5), { batchSize: 1, shuffle: true, seed: 1 }, mixed)).toThrow('add up to 1')
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

  it('splits by a column, by answers and by prompts, as statistics count it', async () => {
    const { tokenizer, template } = await byteModel()
    const rows = upTo(60).map((i) => ({ prompt: `p${i % 12}`, completion: `c${i % 3}`, source: `s${i % 6}` }))
    const side = async (how: object, by: (row: (typeof rows)[number]) => string) => {
      const made = await prepare(rows, PAIRS, tokenizer, template, { ...job, ...how })
      const stats = await datasetStats(rows, PAIRS, tokenizer, template, { ...job, ...how })
      expect([stats.trainRows, stats.evalRows]).toEqual([made.train.length, made.eval.length])
      return [made.train, made.eval].map((part) => part.map(({ index }) => by(rows[index]!)))
    }
    for (const [how, by] of [
      [{ evalSplit: 'grouped', splitBy: 'source' }, (row: (typeof rows)[number]) => row.source],
      [{ evalSplit: 'grouped' }, (row: (typeof rows)[number]) => row.prompt],
    ] as const) {
      const [train, held] = await side(how, by)
      expect(held!.length).toBeGreaterThan(0)
      expect(held!.filter((key) => train!.includes(key))).toEqual([])
    }
    const [, held] = await side({ evalSplit: 'stratified' }, (row) => row.completion)
    expect(sorted(upTo(3).map((c) => held!.filter((key) => key === `c${c}`).length))).toEqual([4, 4, 4])
    const wrong = { ...job, evalSplit: 'grouped', splitBy: 'nothing' } as const
    expect(await refusal(prepare(rows, PAIRS, tokenizer, template, wrong))).toMatchObject({ code: 'data.columns' })
    const same = rows.map((row) => ({ ...row, prompt: 'p' }))
    const one = prepare(same, PAIRS, tokenizer, template, { ...job, evalSplit: 'grouped' })
    expect((await refusal(one)).what).toContain('one group')
  })

  it('takes a seeded subset without encoding the rest', async () => {
    const { tokenizer, template } = await byteModel()
    const rows = [...pairs, ...upTo(80).map((i) => ({ prompt: `q${i}`, completion: 'c' }))]
    const some = (seed: number) =>
      prepare(rows, PAIRS, tokenizer, template, { ...job, subset: 10, seed }, { total: rows.length })
    const [a, b, c] = [await some(1), await some(1), await some(2)]
    const indices = ({ train, eval: held }: typeof a) => sorted([...train, ...held].map(({ index }) => index))
    expect([a.train.length, a.eval.length]).toEqual([8, 2])
    expect(indices(a)).toEqual(indices(b))
    expect(indices(a)).not.toEqual(indices(c))
  })

  it('mixes in other datasets, and batches know their shares', async () => {
    const { tokenizer, template } = await byteModel()
    const texts: Mapping = { format: 'text', columns: { text: 'text' } }
    const other = { rows: upTo(9).map((i) => ({ text: `a story ${i}` })), mapping: texts, share: 0.5 }
    const made = await prepare(pairs, PAIRS, tokenizer, template, job, { mix: [other] })
    const batches = batchesOf(made, { batchSize: 4, shuffle: true, seed: 1 })
    expect(batches.rows).toBe(2 * made.train.length)
    const empty = { ...other, rows: [{ text: '' }] }
    expect(await refusal(prepare(pairs, PAIRS, tokenizer, template, job, { mix: [empty] }))).toMatchObject({
      code: 'data.no-trained-tokens',
    })
  })

  it('reads what a job mixes in', () => {
    expect(mixOf({})).toEqual([])
    expect(mixOf({ mix: ' a=b.jsonl=0.25, local:1 = .1 ', replayShare: 0.2, replayData: 'sample:x' })).toEqual([
      { dataset: 'a=b.jsonl', share: 0.25 },
      { dataset: 'local:1', share: 0.1 },
      { dataset: 'sample:x', share: 0.2 },
    ])
    expect(mixOf({ replayShare: 0.1 })).toEqual([{ dataset: 'sample:everyday-stories', share: 0.1 }])
    for (const mix of ['a', 'a=', 'a=2', '=0.1', 'a=0.5,b=0.5']) expect(() => mixOf({ mix }), mix).toThrow()
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

  it('gathers a few far longer rows in one wider bar, and keeps the others apart', () => {
    const even = histogram(Array.from({ length: 100 }, (_, i) => i + 1))
    expect(new Set(even.map(({ from, to }) => to - from)).size).toBe(1)
    const tailed = histogram(
      [...Array.from({ length: 1000 }, (_, i) => 10 + (i % 50)), 5000, 9000].sort((a, b) => a - b),
    )
    const last = tailed.at(-1)
    expect(histogram([3, 4, 5, 6, 7, 8, 700]).at(-1)).toMatchObject({ to: 701, rows: 1 })
    expect(last).toMatchObject({ to: 9001, rows: 2 })
    expect(tailed.length).toBeGreaterThan(8)
    expect(tailed.reduce((sum, { rows }) => sum + rows, 0)).toBe(1002)
    expect(tailed.slice(1).every(({ from }, i) => from === tailed[i]?.to)).toBe(true)
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
