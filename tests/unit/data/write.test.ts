import Papa from 'papaparse'
import { describe, expect, it } from 'vitest'
import { convertRow, detectFormat, mapRow, writeExample, writeRows, type Example, type RawRow } from '../../../src/data'
import { seededIntegers } from '../../../src/data/batch/random'
import type { ChatMessage } from '../../../src/shared/records'
import { importBytes } from './support'

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

  it.each(['preference', 'kto', 'label', 'tokens', 'text'] as const)(
    'rows of the format %s come back whatever they say',
    async (format) => {
      for (let seed = 100; seed < 120; seed++) {
        const text = texts(seed)
        const below = seededIntegers(seed, 2)
        const ids = (least: number) => Array.from({ length: 1 + below(9) }, () => below(500) + least)
        const rows = Array.from({ length: 20 }, (_, i): RawRow => {
          if (format === 'preference') return { prompt: text(), chosen: text(), rejected: text() }
          if (format === 'kto') return { prompt: text(), completion: text(), label: below(2) === 1 }
          if (format === 'label') return { text: `${i} ${text()}`, label: ['yes', 'no', 'maybe'][i % 3] }
          if (format === 'text') return { text: text() }
          const input_ids = ids(0)
          return { input_ids, labels: input_ids.map((id) => (below(2) ? id : -100)) }
        })
        for (const file of ['jsonl', 'json'] as const) {
          const result = await fileOf(rows, file)
          expect([result.problems, result.mapping.format]).toEqual([[], format])
          expect(result.rows).toEqual(rows)
          expect(result.rows.map((row) => convertRow(row, result.mapping, format))).toEqual(rows)
        }
      }
    },
  )

  it.each(['chat', 'sharegpt', 'alpaca', 'pair'] as const)('tables hold rows of the format %s too', async (format) => {
    for (let seed = 0; seed < 10; seed++) {
      const wanted = examples(seed).map((example): Example =>
        format === 'sharegpt' ? { kind: 'chat', messages: (example as { messages: ChatMessage[] }).messages } : example,
      )
      const rows = wanted.map((example) => writeExample(example, format))
      for (const file of ['csv', 'tsv'] as const) {
        const result = await fileOf(rows, file)
        expect(result.problems).toEqual([])
        expect(result.mapping.format).toBe(format)
        expect(result.rows.map((row) => canonical(mapRow(row, result.mapping)))).toEqual(wanted.map(canonical))
      }
    }
  })

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

describe('damage to bytes', () => {
  const pieces = [...Array(256).keys()]
  const made = (seed: number) => {
    const text = texts(seed)
    return Array.from({ length: 60 }, (_, i) => ({ prompt: `${i} ${text()}`, completion: `${text()} ${i}` }))
  }

  it('never crashes or hangs the import, and what is left of a file is read', { timeout: 120_000 }, async () => {
    const below = seededIntegers(11)
    for (const file of ['jsonl', 'json', 'csv', 'tsv'] as const) {
      const rows = made(11)
      const whole = new TextEncoder().encode([...writeRows(rows, file)].join(''))
      const wanted = new Set(rows.map((row) => JSON.stringify(row)))
      for (let trial = 0; trial < 120; trial++) {
        const damaged = Uint8Array.from(whole)
        const how = trial % 3
        const at = Math.floor(whole.length / 2) + below(Math.floor(whole.length / 2) - 100)
        // one byte, a torn end, or a hole
        if (how === 0) damaged[at] = pieces[below(256)] as number
        const cut = how === 1 ? damaged.subarray(0, at) : how === 2 ? Uint8Array.from([...damaged.subarray(0, at), ...damaged.subarray(at + 40)]) : damaged // prettier-ignore
        const result = await importBytes(`a.${file}`, cut, 61)
        const kept = result.rows.filter((row) => wanted.has(JSON.stringify(row))).length
        const before = new TextDecoder().decode(whole.subarray(0, at)).split(/\d+ x/).length - 4
        expect(kept, `${file} at ${at}`).toBeGreaterThanOrEqual(Math.min(before, how === 1 ? before : 54))
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
