import Papa from 'papaparse'
import { describe, expect, it, vi } from 'vitest'
import { detectFormat, mapRow, writeExample, writeRows, type Example, type RawRow } from '../../../src/data'
import { seededIntegers } from '../../../src/data/batch/random'
import type { ChatMessage } from '../../../src/shared/records'
import { importBytes } from './support'

vi.setConfig({ testTimeout: 60_000 })

const ALPHABET = [
  'a',
  'B',
  ' ',
  '\n',
  '\r\n',
  '"',
  "'",
  '\\',
  ',',
  ';',
  '\t',
  '|',
  '{',
  '}',
  '[',
  ']',
  ':',
  'é',
  '漢',
  '🙂',
  '\u2028',
  '<',
  '#',
  '0',
  '\u0000',
]

/** Texts made of everything that breaks parsers; never blank, so that every row can be used. */
function texts(seed: number): () => string {
  const below = seededIntegers(seed)
  return () => `x${Array.from({ length: below(30) }, () => ALPHABET[below(ALPHABET.length)]).join('')}`
}

function examples(seed: number): Example[] {
  const text = texts(seed)
  const below = seededIntegers(seed, 1)
  const turn = (role: string): ChatMessage => ({ role, content: text() })
  return Array.from({ length: 20 }, (): Example => {
    const messages = [
      ...(below(2) ? [turn('system')] : []),
      ...Array.from({ length: below(3) + 1 }, () => [turn('user'), turn('assistant')]).flat(),
    ]
    return { kind: 'chat', messages, trainFrom: messages.length - 1 }
  })
}

const fileOf = (rows: RawRow[], file: Parameters<typeof writeRows>[1]) =>
  importBytes(`a.${file}`, [...writeRows(rows, file)].join(''), 50)
const canonical = (example: Example): unknown =>
  example.kind === 'pair'
    ? (example.chat ?? [
        { role: 'user', content: example.prompt },
        { role: 'assistant', content: example.completion },
      ])
    : example.kind === 'chat'
      ? example.messages
      : example

describe('parse(write(rows)) = rows', () => {
  it.each(['jsonl', 'json', 'csv', 'tsv'] as const)('%s keeps every character', async (file) => {
    for (let seed = 0; seed < 25; seed++) {
      const text = texts(seed)
      const rows = Array.from({ length: 30 }, () => ({ prompt: text(), completion: text() }))
      const result = await fileOf(rows, file)
      expect(result.problems).toEqual([])
      expect(result.rows).toEqual(rows)
      expect(result.mapping.format).toBe('pair')
    }
  })

  it.each(['jsonl', 'json'] as const)('%s keeps every kind of value', async (file) => {
    const rows = [{ text: 'a', n: 1.5, yes: true, none: null, list: [1, ['x'], { a: {} }], 'odd "name"': '' }]
    expect((await fileOf(rows, file)).rows).toEqual(rows)
  })

  it.each(['alpaca', 'chat', 'sharegpt', 'pair'] as const)(
    'rows of the format %s come back as the same examples',
    async (format) => {
      for (let seed = 0; seed < 20; seed++) {
        const wanted = examples(seed).map((example): Example =>
          format === 'sharegpt'
            ? { kind: 'chat', messages: (example as { messages: ChatMessage[] }).messages }
            : example,
        )
        const rows = wanted.map((example) => writeExample(example, format))
        const result = await fileOf(rows, 'jsonl')
        expect(detectFormat(result.rows).mapping.format).toBe(format)
        expect(result.rows.map((row) => canonical(mapRow(row, result.mapping)))).toEqual(wanted.map(canonical))
      }
    },
  )

  it('texts, tokens, tools and untaught answers come back too', () => {
    const back = (example: Example, format: Parameters<typeof writeExample>[1]) => {
      const row = writeExample(example, format)
      return mapRow(row, detectFormat([row]).mapping)
    }
    const text: Example = { kind: 'text', text: 'a\nb' }
    const tokens: Example = { kind: 'tokens', inputIds: [1, 2], labels: [-100, 2] }
    expect(back(text, 'text')).toEqual(text)
    expect(back(tokens, 'tokens')).toEqual(tokens)
    const call = { type: 'function', function: { name: 'f', arguments: { a: 1 } } }
    const tooled: Example = {
      kind: 'chat',
      messages: [
        { role: 'user', content: 'q' },
        { role: 'assistant', content: '', tool_calls: [call] },
        { role: 'tool', content: '1' },
        { role: 'assistant', content: 'One.' },
      ],
      tools: [{ type: 'function', function: { name: 'f', parameters: {} } }],
    }
    expect(back(tooled, 'chat')).toEqual(tooled)
    expect(back(tooled, 'sharegpt')).toEqual(tooled)
    const untaught: Example = { kind: 'chat', messages: tooled.messages, unlearnt: [1] }
    expect(back(untaught, 'chat')).toEqual(untaught)
    for (const format of ['sharegpt', 'alpaca', 'pair', 'text', 'tokens'] as const)
      expect(() => writeExample(untaught, format)).toThrow('cannot be written')
  })
})

describe('tables, with papaparse as the judge', () => {
  it('reads what papaparse reads', async () => {
    for (let seed = 0; seed < 40; seed++) {
      const text = texts(seed)
      const rows = Array.from({ length: 12 }, () => [text(), text(), text()])
      const written = Papa.unparse(
        { fields: ['text', 'label', 'extra'], data: rows },
        { newline: seed % 2 ? '\n' : '\r\n', quotes: seed % 3 === 0 },
      )
      const judged = Papa.parse<RawRow>(written, { header: true, skipEmptyLines: true }).data
      const result = await importBytes('a.csv', written, 31)
      expect(result.rows).toEqual(judged)
    }
  })
})

describe('damage', () => {
  it('no mutation of a valid file crashes the import or takes the good rows far from it along', async () => {
    const below = seededIntegers(7)
    const text = texts(7)
    for (const file of ['jsonl', 'json', 'csv', 'tsv'] as const) {
      const rows = Array.from({ length: 40 }, (_, i) => ({ prompt: `${i} ${text()}`, completion: text() }))
      const whole = [...writeRows(rows, file)].join('')
      const firstRow = whole.indexOf('0 x')
      for (let trial = 0; trial < 150; trial++) {
        const at = firstRow + below(whole.length - firstRow)
        const damaged = mutate(whole, at, below(4), ALPHABET[below(ALPHABET.length)] as string)
        const result = await importBytes(`a.${file}`, damaged, 997)
        const wanted = new Set(rows.map((row) => JSON.stringify(row)))
        const kept = result.rows.filter((row) => wanted.has(JSON.stringify(row))).length
        // A quote put in or taken away between two quoted fields of a table can join two rows by the rules of quoting itself.
        expect(kept, `${file}: ${JSON.stringify(damaged.slice(at - 30, at + 30))}`).toBeGreaterThanOrEqual(
          file === 'json' || file === 'jsonl' ? 38 : 37,
        )
      }
    }
  })
})

function mutate(text: string, at: number, how: number, what: string): string {
  const before = text.slice(0, at)
  if (how === 0) return before + text.slice(at + 1)
  if (how === 1) return before + what + text.slice(at)
  if (how === 2) return before + what + text.slice(at + 1)
  return before + text.slice(at, at + 5) + text.slice(at)
}
