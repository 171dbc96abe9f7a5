import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { importFile, type RawRow } from '../../../src/data'
import { importBytes, refusal } from './support'

const rows = [
  { prompt: 'What is 1 + 1?', completion: 'Two.' },
  { prompt: 'Line\nbreak, "quotes" and \\slashes\\', completion: 'ümläute 漢字 🙂' },
  { prompt: 'Why?', completion: '[{"because": "}, {"}]' },
]

describe('JSON Lines', () => {
  const text = rows.map((row) => JSON.stringify(row)).join('\n')

  it.each([1, 2, 3, 7, 64, 65536])('reads rows from pieces of %i bytes', async (size) => {
    const result = await importBytes('a.jsonl', text, size)
    expect(result.rows).toEqual(rows)
    expect(result.kind).toBe('jsonl')
    expect(result.mapping).toEqual({ format: 'pair', columns: { prompt: 'prompt', completion: 'completion' } })
  })

  it('reads past a byte order mark, CRLF and blank lines', async () => {
    const result = await importBytes('a.jsonl', '\ufeff' + text.replaceAll('\n', '\r\n\r\n') + '\r\n')
    expect(result.rows).toEqual(rows)
    expect(result.problems).toEqual([])
  })

  it('sets broken lines aside with line, column and reason', async () => {
    const result = await importBytes(
      'a.jsonl',
      `${JSON.stringify(rows[0])}\n{"prompt": "x", completion: 1}\n17\n${JSON.stringify(rows[1])}\n{"prompt": "y"`,
    )
    expect(result.rows).toEqual(rows.slice(0, 2))
    expect(result.problems.map(({ line, column }) => [line, column])).toEqual([
      [2, 17],
      [3, undefined],
      [5, 15],
    ])
    expect(result.problems[0]?.reason).toContain('double quotes')
    expect(result.problems[1]?.reason).toContain('a number')
  })

  it('sets a row aside that is nested so deep that nothing could write it again', async () => {
    const nested = (depth: number) => `{"prompt": ${'['.repeat(depth)}${']'.repeat(depth)}, "completion": "x"}`
    const { rows: kept, problems } = await importBytes('a.jsonl', [nested(50), nested(5000), nested(50)].join('\n'))
    expect(kept).toHaveLength(2)
    expect(problems).toMatchObject([{ line: 2, reason: 'The row is nested more than 100 deep.' }])
  })

  it('reads gzip', async () => {
    expect((await importBytes('a.jsonl.gz', gzipSync(text), 10)).rows).toEqual(rows)
    expect(await refusal(importBytes('a.jsonl.gz', gzipSync(text).subarray(0, 60)))).toMatchObject({
      code: 'file.unreadable',
    })
  })

  it('hands rows to a sink and keeps none', async () => {
    const many = Array.from({ length: 5001 }, (_, i) => ({ prompt: `p${i}`, completion: `c${i}` }))
    const taken: unknown[] = []
    const result = await importBytes(
      'a.jsonl',
      many.map((row) => JSON.stringify(row)).join('\n'),
      1 << 14,
      (batch) => void taken.push(...batch),
    )
    expect(taken).toEqual(many)
    expect(result).toMatchObject({ count: 5001, rows: [], mapping: { format: 'pair' } })
  })
})

describe('JSON', () => {
  it.each([1, 5, 100, 65536])('reads a list, pretty or not, from pieces of %i bytes', async (size) => {
    expect((await importBytes('a.json', JSON.stringify(rows), size)).rows).toEqual(rows)
    expect((await importBytes('a.json', JSON.stringify(rows, null, 2), size)).rows).toEqual(rows)
  })

  it('finds the rows inside an object, and says where', async () => {
    const result = await importBytes(
      'a.json',
      JSON.stringify({ version: 2, validation: rows.slice(0, 1), data: { train: rows } }),
    )
    expect(result.rows).toEqual(rows)
    expect(result.why).toContain('data.train')
  })

  it('turns columns into rows, and reads rows by name', async () => {
    const columns = { prompt: rows.map((row) => row.prompt), completion: rows.map((row) => row.completion) }
    expect((await importBytes('a.json', JSON.stringify(columns))).rows).toEqual(rows)
    expect((await importBytes('a.json', JSON.stringify({ a: rows[0], b: rows[1] }))).rows).toEqual(rows.slice(0, 2))
  })

  it('takes one object for one row', async () => {
    expect((await importBytes('a.json', JSON.stringify(rows[0], null, 2))).rows).toEqual([rows[0]])
  })

  it.each([
    ['a missing quote', (text: string) => text.replace('Why?"', 'Why?')],
    ['a missing brace', (text: string) => text.replace('Two."}', 'Two."')],
    ['a stray brace', (text: string) => text.replace('Two."}', 'Two."}}')],
    ['a missing colon', (text: string) => text.replace('"completion":"Two', '"completion""Two')],
  ])('loses one row to %s and keeps the others', async (_, damage) => {
    for (const size of [3, 65536]) {
      const result = await importBytes('a.json', damage(JSON.stringify([...rows, ...rows])), size)
      expect(result.problems.length).toBeGreaterThan(0)
      expect(result.rows.length).toBeGreaterThanOrEqual(5)
    }
  })

  it('keeps the rows of a file that ends too early', async () => {
    const text = JSON.stringify(rows)
    const result = await importBytes('a.json', text.slice(0, -20))
    expect(result.rows).toEqual(rows.slice(0, 2))
    expect(result.problems).toHaveLength(1)
  })

  it('names line and column of a row that is not JSON', async () => {
    const result = await importBytes('a.json', '[\n{"text": "good"},\n{"text": bad},\n{"text": "also good"}\n]', 4)
    expect(result.rows).toEqual([{ text: 'good' }, { text: 'also good' }])
    expect(result.problems).toMatchObject([{ line: 3, column: 10 }])
  })

  it('refuses what is not JSON, with line and column', async () => {
    expect(await refusal(importBytes('bad.json', 'This data is bad!'))).toMatchObject({
      code: 'data.not-json',
      where: 'bad.json, line 1, column 1',
    })
    expect(await refusal(importBytes('bad.json', '{\n "a": [1,\n 2}\n}'))).toMatchObject({
      code: 'data.not-json',
      where: 'bad.json, line 3, column 3',
    })
    expect(await refusal(importBytes('bad.jsonl', 'not json\nat all'))).toMatchObject({ code: 'data.not-json' })
    expect(await refusal(importBytes('bad.json', '{"a": 1}'))).toMatchObject({ code: 'data.columns' })
    expect(await refusal(importBytes('dataset_info.json', '{"x": {"file_name": "x.json"}}'))).toMatchObject({
      code: 'data.columns',
    })
  })
})

describe('tables', () => {
  it.each([',', ';', '\t', '|'])('reads the delimiter %j with quotes, CRLF and a mark', async (delimiter) => {
    const quote = (text: string) => `"${text.replaceAll('"', '""')}"`
    const text = [
      'prompt,completion'.replace(',', delimiter),
      ...rows.map((row) => quote(row.prompt) + delimiter + quote(row.completion)),
    ]
    for (const size of [1, 9, 65536]) {
      const result = await importBytes('a.csv', '\ufeff' + text.join('\r\n') + '\r\n', size)
      expect(result.rows).toEqual(rows)
      expect(result.problems).toEqual([])
    }
  })

  it('refuses duplicate headers by name', async () => {
    expect(await refusal(importBytes('a.csv', 'text,label,text\na,b,c\n'))).toMatchObject({
      code: 'data.columns',
      what: expect.stringContaining('"text"') as string,
    })
  })

  it('sets aside rows with the wrong number of fields or unfit quotes, and goes on', async () => {
    const result = await importBytes('a.csv', 'prompt,completion\na,b\nc\nd,e,f\n"g,h\ni,j\n"k "x" y",l\nm,n\n')
    expect(result.rows.map((row) => row.prompt)).toEqual(['a', 'i', 'm'])
    expect(result.problems.map((problem) => problem.line)).toEqual([3, 4, 5, 7])
  })

  it('numbers the columns of a table without a header', async () => {
    const lines = Array.from({ length: 20 }, (_, i) => (i % 3 ? `ham\t"Quoted start ${i}` : `spam\tWin "now ${i}!`))
    const result = await importBytes('a.tsv', lines.join('\n'))
    expect(result.count).toBe(20)
    expect(result.mapping).toEqual({ format: 'label', columns: { label: 'column 1', text: 'column 2' } })
    expect(result.rows[2]).toEqual({ 'column 1': 'ham', 'column 2': '"Quoted start 2' })
  })

  it('recognises a pasted table', async () => {
    const result = await importBytes('Pasted', 'question\tanswer\nWho?\tMe.\nWhere?\tHere.')
    expect(result).toMatchObject({ kind: 'csv', count: 2, mapping: { format: 'pair' } })
  })
})

describe('text', () => {
  it('takes each line for a row where there are no blank lines', async () => {
    const result = await importBytes('names.txt', 'emma\r\nolivia\r\nava', 3)
    expect(result.rows).toEqual([{ text: 'emma' }, { text: 'olivia' }, { text: 'ava' }])
    expect(result.mapping.format).toBe('text')
  })

  it('gathers paragraphs and loses none of the words', async () => {
    const text = Array.from({ length: 100 }, (_, i) => `Paragraph ${i}. ${'word '.repeat(i)}end.`).join('\n\n')
    const result = await importBytes('a.txt', text, 1000)
    const words = (value: string) => value.split(/\s+/).filter(Boolean)
    expect(words(result.rows.map((row) => row.text).join('\n'))).toEqual(words(text))
    for (const row of result.rows) expect((row.text as string).length).toBeLessThanOrEqual(4000)
    expect(result.count).toBeGreaterThan(5)
  })

  it('begins a passage at each heading of Markdown', async () => {
    const result = await importBytes('a.md', '# One\nfirst\n\n## Two\nsecond')
    expect(result.rows.map((row) => row.text)).toEqual(['# One\nfirst', '## Two\nsecond'])
  })
})

describe('bytes', () => {
  it.each([1, 2, 5, 65536])('names the byte and the line that are not UTF-8 (pieces of %i)', async (size) => {
    const bytes = new TextEncoder().encode('{"text": "ä"}\n{"text": "漢x"}\n')
    const at = bytes.lastIndexOf(0xe6)
    bytes[at + 1] = 0x20
    expect(await refusal(importBytes('a.jsonl', bytes, size))).toMatchObject({
      code: 'data.not-utf8',
      where: `a.jsonl, line 2, byte ${at}`,
    })
    expect(await refusal(importBytes('a.jsonl', bytes.subarray(0, 11), size))).toMatchObject({
      code: 'data.not-utf8',
      where: 'a.jsonl, line 1, byte 11',
    })
  })

  it.each([1, 7, 65536])('sets few rows with such bytes aside and keeps the others (pieces of %i)', async (size) => {
    const rows = Array.from({ length: 40 }, (_, i) => ({ text: `row ${i} \ufffd ä` }))
    const fine = await importBytes(
      'a.jsonl',
      new TextEncoder().encode(rows.map((row) => JSON.stringify(row)).join('\n')),
      size,
    )
    expect(fine.count).toBe(40)
    const plain = rows.map(({ text }) => ({ text: text.replace('\ufffd', '') }))
    const clean = new TextEncoder().encode(plain.map((row) => JSON.stringify(row)).join('\n'))
    clean[clean.indexOf(0xc3, 400) + 1] = 0x41
    const result = await importBytes('a.jsonl', clean, size)
    expect(result.problems).toMatchObject([{ reason: 'The row holds bytes that are not UTF-8.' }])
    expect(result.rows).toEqual(plain.filter((_, i) => i !== (result.problems[0]?.line ?? 0) - 1))
  })

  it('reads UTF-16 with its mark', async () => {
    const text = '\ufeffprompt\tcompletion\na\tb\n'
    const bytes = new Uint8Array(new Uint16Array([...text].map((c) => c.charCodeAt(0))).buffer)
    expect((await importBytes('a.tsv', bytes, 3)).rows).toEqual([{ prompt: 'a', completion: 'b' }])
  })

  it('refuses empty files, archives and pictures', async () => {
    for (const content of ['', '\n \n', '\ufeff'])
      expect(await refusal(importBytes('a.jsonl', content))).toMatchObject({ code: 'data.empty' })
    expect(await refusal(importBytes('a.csv', ''))).toMatchObject({ code: 'data.empty' })
    expect(await refusal(importBytes('a.json', '[]'))).toMatchObject({ code: 'data.empty' })
    expect((await refusal(importBytes('a.csv', 'prompt,completion\n'))).what).toMatch('a header and no rows')
    expect((await refusal(importBytes('a.jsonl', 'GGUF\x03'))).what).toMatch('a model (GGUF)')
    for (const name of ['a.zip', 'a.xlsx'])
      expect(await refusal(importBytes(name, new Uint8Array([0x50, 0x4b, 3, 4, 0])))).toMatchObject({
        code: 'file.unreadable',
      })
    expect(await refusal(importBytes('a.parquet', 'PAR1 but no more'))).toMatchObject({ code: 'file.unreadable' })
  })

  it('reports progress and stops when asked', async () => {
    const bytes = new TextEncoder().encode('{"text": "x"}\n'.repeat(10_000))
    const stop = new AbortController()
    const seen: number[] = []
    const stream = new Blob([bytes]).stream()
    const result = importFile(
      { name: 'a.jsonl', stream, size: bytes.length },
      ({ done }) => {
        seen.push(done)
        stop.abort()
      },
      stop.signal,
    )
    expect(await refusal(result)).toMatchObject({ code: 'cancelled' })
    expect(seen[0]).toBeGreaterThan(0)
  })
})

describe('a Parquet file of many row groups', () => {
  const bytes = readFileSync(resolve(import.meta.dirname, '../../golden/groups.parquet'))
  const stream = () => new Blob([bytes]).stream()

  it('is read from ranges a row group at a time, as it is from memory', async () => {
    const asked: number[] = []
    const slice = async (start: number, end: number) => {
      asked.push(end - start)
      return new Uint8Array(bytes.subarray(start, end)).buffer
    }
    const rows: RawRow[] = []
    const take = (batch: RawRow[]) => void rows.push(...batch)
    const ranged = await importFile({ name: 'a.parquet', stream: stream(), size: bytes.length, slice }, undefined, undefined, take) // prettier-ignore
    const whole = await importFile({ name: 'a.parquet', stream: stream(), size: bytes.length })
    expect([ranged.count, whole.count]).toEqual([3000, 3000])
    expect(rows).toEqual(whole.rows)
    expect(rows[2999]).toMatchObject({ prompt: 'What is 2999?', number: 2999 })
    // The index at the end is asked for first and whole; after it no piece is more than a group.
    expect(Math.max(...asked.slice(1))).toBeLessThan(bytes.length / 6)
  })

  it('is ended between two groups', async () => {
    const stop = new AbortController()
    const slice = async (start: number, end: number) => new Uint8Array(bytes.subarray(start, end)).buffer
    const source = { name: 'a.parquet', stream: stream(), size: bytes.length, slice }
    const reading = importFile(source, ({ unit, done }) => unit === 'rows' && done >= 500 && stop.abort(), stop.signal)
    expect(await refusal(reading)).toMatchObject({ code: 'cancelled' })
  })
})
