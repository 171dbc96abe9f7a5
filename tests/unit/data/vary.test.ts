/** Variations of rows: what a model is asked for them, what its text makes of the row, and what is thrown away. */
import { describe, expect, it } from 'vitest'
import {
  drawExamples,
  mapRow,
  partsOf,
  readVariation,
  sameKey,
  sidesOf,
  variationPrompt,
  withSides,
} from '../../../src/data'
import type { VariationKind } from '../../../src/shared/protocol'
import type { Mapping } from '../../../src/shared/records'
import { byteModel, CHATML } from './support'

const pair: Mapping = { format: 'pair', columns: { prompt: 'q', completion: 'a' } }
const turns = (...texts: string[]) => texts.map((content, i) => ({ role: i % 2 ? 'assistant' : 'user', content }))

describe('the texts of a row', () => {
  it.each([
    ['pair', pair, { q: 'Why?', a: 'So.', id: 7 }, 'Why?'],
    ['label', { format: 'label', columns: { text: 't', label: 'l' } }, { t: 'Why?', l: 'So.' }, 'Why?'],
    ['alpaca', { format: 'alpaca', columns: { instruction: 'i', output: 'o' } }, { i: 'Why?', o: 'So.' }, 'Why?'],
    ['chat', { format: 'chat', columns: { messages: 'm' } }, { m: turns('Why?', 'So.') }, 'Why?'],
    [
      'chat in text',
      { format: 'chat', columns: { messages: 'm' } },
      { m: JSON.stringify(turns('Why?', 'So.')) },
      'Why?',
    ],
    ['later turns', { format: 'chat', columns: { messages: 'm' } }, { m: turns('Hi', 'Ho', 'Why?', 'So.') }, 'Why?'],
    [
      'sharegpt',
      { format: 'sharegpt', columns: { conversations: 'c' } },
      { c: [{ from: 'human', value: 'Why?' }, { from: 'gpt', value: 'So.' }] }, // prettier-ignore
      'Why?',
    ],
    ['text', { format: 'text', columns: { text: 't' } }, { t: 'So.' }, null],
  ] as [string, Mapping, Record<string, unknown>, string | null][])(
    'of %s are found and put back',
    (_, mapping, row, prompt) => {
      expect(sidesOf(row, mapping)).toEqual({ prompt, answer: 'So.' })
      const before = JSON.stringify(row)
      const made = withSides(row, mapping, { prompt: prompt && 'How?', answer: 'Thus.' })
      expect(sidesOf(made, mapping)).toEqual({ prompt: prompt && 'How?', answer: 'Thus.' })
      expect(JSON.stringify(row)).toBe(before)
      expect(Object.keys(made)).toEqual(Object.keys(row))
    },
  )

  it('join an instruction and its input, and give the model the same text when put back', () => {
    const mapping: Mapping = { format: 'alpaca', columns: { instruction: 'i', input: 'x', output: 'o' } }
    const row = { i: 'Translate', x: 'dog', o: 'Hund' }
    const same = withSides(row, mapping, sidesOf(row, mapping))
    expect(partsOf(mapRow(same, mapping))).toEqual(partsOf(mapRow(row, mapping)))
  })

  it.each([
    ['a tool call', { format: 'chat', columns: { messages: 'm' } }, { m: [{ role: 'user', content: 'x' }, { role: 'assistant', content: null, tool_calls: [{ function: { name: 'f', arguments: {} } }] }] }], // prettier-ignore
    ['tokens', { format: 'tokens', columns: { input_ids: 'i' } }, { i: [1, 2] }],
    ['an empty answer', pair, { q: 'x', a: ' ' }],
    ['a nested column', { format: 'text', columns: { text: 'a.b' } }, { a: { b: 'x' } }],
  ] as [string, Mapping, Record<string, unknown>][])('are refused for %s', (_, mapping, row) => {
    expect(() => sidesOf(row, mapping)).toThrow(expect.objectContaining({ code: 'data.row' }) as Error)
  })
})

describe('what a model is asked', () => {
  const row = { q: 'Where is the cat?', a: 'On the mat.' }
  const examples = [{ q: 'Where is the dog?', a: 'In the hut.' }]
  const ask = async (kind: VariationKind, model: Awaited<ReturnType<typeof byteModel>>, context = 4096) => {
    const prompt = variationPrompt(row, { kind, mapping: pair, examples, ...model, context })
    return { ...prompt, text: model.tokenizer.decode(prompt.ids) }
  }

  it('ends where the new text begins, with another row before it', async () => {
    const model = await byteModel()
    const texts = Object.fromEntries(
      await Promise.all(
        (['prompt', 'answer', 'both'] as const).map(async (kind) => [kind, (await ask(kind, model)).text]),
      ),
    ) as Record<VariationKind, string>
    expect(texts.prompt).toMatch(/Answer: In the hut\.\nPrompt: Where is the dog\?\n\nAnswer: On the mat\.\nPrompt:$/)
    expect(texts.answer).toMatch(/Where is the dog\?In the hut\.\n\nWhere is the cat\?$/)
    expect(texts.both).toMatch(/In the hut\.\n\nPrompt: Where is the cat\?\nAnswer: On the mat\.\n\nPrompt:$/)
  })

  it('goes through the chat template where the model has one', async () => {
    const { text, stop } = await ask('prompt', await byteModel(CHATML))
    expect(text).toContain('Write the prompt that this answer belongs to.')
    expect(text).not.toContain('Where is the cat?')
    expect(stop.length).toBeGreaterThan(0)
  })

  it('leaves examples out until it fits, and refuses a row that never will', async () => {
    const model = await byteModel()
    const { ids } = await ask('prompt', model)
    const { text } = await ask('prompt', model, ids.length + 40)
    expect(text).not.toContain('hut')
    await expect(ask('prompt', model, 10)).rejects.toMatchObject({ code: 'data.row' })
  })

  it('draws other rows that can be used, the same for the same seed', async () => {
    const rows = Array.from({ length: 40 }, (_, i) => ({ q: `q${i}`, a: i % 3 ? `a${i}` : '' }))
    const source = { count: 40, pick: async (at: readonly number[]) => at.map((i) => rows[i] as (typeof rows)[0]) }
    const drawn = await drawExamples(source, 1, pair, 5)
    expect(drawn).toEqual(await drawExamples(source, 1, pair, 5))
    expect(drawn).not.toEqual(await drawExamples(source, 1, pair, 6))
    expect(drawn.length).toBe(4)
    expect(drawn.every(({ q, a }) => q !== 'q1' && a !== '')).toBe(true)
  })
})

describe('what its text makes of the row', () => {
  const own = { prompt: 'Where is the cat?', answer: 'On the mat.' }
  it.each([
    ['prompt', ' Prompt: Is the cat in? ', { prompt: 'Is the cat in?', answer: own.answer }],
    ['answer', 'There.\n', { prompt: own.prompt, answer: 'There.' }],
    ['both', ' Who?\nAnswer: Me.\nReally.', { prompt: 'Who?', answer: 'Me.\nReally.' }],
    ['both', 'Who? Me.', { refused: 'without a prompt and its answer' }],
    ['answer', ' \n', { refused: 'empty' }],
  ] as const)('as %s: %j', (kind, text, becomes) => {
    expect(readVariation(kind, own, text, pair)).toEqual(becomes)
  })

  it('is the same as another that differs in case and white space only', () => {
    expect(sameKey(own)).toBe(sameKey({ prompt: 'where  is the CAT?', answer: 'on the mat. ' }))
    expect(sameKey(own)).not.toBe(sameKey({ ...own, answer: 'On the mat' }))
  })
})
