/**
 * Tables with any delimiter, quoted as RFC 4180 says. Refuses rows whose quotes or number of fields do not fit, and goes on with the
 * line after. The header is told from a first row of data by its values.
 */
import { CodedError } from '../../shared/errors'
import type { Collector, TextParser } from './collector'
import { readRecord, type CsvRecord } from './csv-record'

const DELIMITERS = [',', '\t', ';', '|']
/** Characters gathered before the delimiter and the header are decided. */
const LOOK = 256 * 1024
/** Rows that have a say in it. */
const VOTERS = 60
/** Characters after which a row whose quotes are never closed is given up. */
const LONGEST_ROW = 16 * 1024 * 1024

/** Names that are always a header's. */
const KNOWN = new Set(
  'prompt completion instruction input output question answer response text label category conversations messages input_ids chosen rejected system'.split(
    ' ',
  ),
)

interface CsvShape {
  delimiter: string
  /** Fields of most rows. */
  fields: number
  /** Share of the rows seen that have as many fields. */
  agreement: number
}

export class CsvParser implements TextParser {
  readonly #out: Collector
  readonly #name: string
  #buffer = ''
  #line = 1
  #names: string[] | undefined
  #delimiter = ','
  #quoting = true
  /** Whether the columns were named by number, for the sentence that says why. */
  headless = false

  constructor(out: Collector, name: string) {
    this.#out = out
    this.#name = name
  }

  push(text: string): void {
    this.#buffer += text
    if (this.#names || this.#buffer.length >= LOOK) this.#work(false)
  }

  end(): void {
    this.#work(true)
  }

  #work(final: boolean): void {
    if (!this.#names) this.#decide()
    let at = 0
    while (at < this.#buffer.length) {
      let record = readRecord(this.#buffer, at, this.#delimiter, this.#quoting, final)
      if (record === 'more' && this.#buffer.length - at > LONGEST_ROW) {
        record = { broken: 'A quote is opened and never closed.', offset: at }
      }
      if (record === 'more') break
      if ('broken' in record) at = this.#setAside(at, record)
      else {
        this.#row(record, this.#buffer.slice(at, record.next))
        this.#line += record.lines
        at = record.next
      }
    }
    this.#buffer = this.#buffer.slice(at)
  }

  /** Skips a line that cannot be read; a table with tabs reads it without quotes instead. */
  #setAside(at: number, fault: { broken: string; offset: number }): number {
    const newline = this.#buffer.indexOf('\n', at)
    const end = newline < 0 ? this.#buffer.length : newline + 1
    const line = this.#buffer.slice(at, end)
    const bare = this.#delimiter === '\t' ? readRecord(line, 0, '\t', false, true) : 'more'
    if (bare !== 'more' && !('broken' in bare)) this.#row(bare, line)
    else {
      const inLine = fault.offset < end ? fault.offset - at + 1 : undefined
      this.#out.problem(this.#line, inLine, fault.broken, line.trimEnd())
    }
    this.#line++
    return end
  }

  #row(record: CsvRecord, text: string): void {
    const names = this.#names as string[]
    const { fields } = record
    if (fields.length === 1 && fields[0] === '' && names.length > 1) return
    if (fields.every((field) => field.trim() === '')) return
    while (fields.length > names.length && fields.at(-1) === '') fields.pop()
    if (fields.length !== names.length) {
      const had = fields.length === 1 ? '1 field' : `${fields.length} fields`
      this.#out.problem(this.#line, undefined, `The row has ${had} where ${names.length} belong.`, text.trimEnd())
      return
    }
    this.#out.value(Object.fromEntries(names.map((name, i) => [name, fields[i]])), this.#line)
  }

  /** Chooses delimiter and names; takes the header off the buffer. */
  #decide(): void {
    const shape = sniffDelimiter(this.#buffer)
    this.#delimiter = shape.delimiter
    const rows = firstRecords(this.#buffer, shape.delimiter, VOTERS)
    const first = rows[0]
    if (!first) {
      this.#names = []
      return
    }
    if (!isHeader(rows.map((row) => row.fields))) {
      this.headless = true
      this.#names = Array.from({ length: shape.fields }, (_, i) => `column ${i + 1}`)
      return
    }
    this.#names = first.fields.map((field, i) => field.trim() || `column ${i + 1}`)
    this.#checkNames()
    this.#line += first.lines + (first.skipped ?? 0)
    this.#buffer = this.#buffer.slice(first.next)
  }

  #checkNames(): void {
    const names = this.#names as string[]
    const twice = [...new Set(names.filter((name, i) => names.indexOf(name) !== i))]
    if (twice.length === 0) return
    throw new CodedError(
      'data.columns',
      `The header names columns twice: ${twice.map((name) => `"${name}"`).join(', ')}.`,
      {
        where: `${this.#name}, line ${this.#line}`,
        fix: 'Give each column a name of its own and try again.',
      },
    )
  }
}

/** The delimiter by which the first rows fall into the same number of fields most often; a comma where none does. */
export function sniffDelimiter(text: string): CsvShape {
  let best: CsvShape = { delimiter: ',', fields: 1, agreement: 0 }
  for (const delimiter of DELIMITERS) {
    const counts = firstRecords(text, delimiter, VOTERS).map((row) => row.fields.length)
    const tally = new Map<number, number>()
    for (const count of counts) tally.set(count, (tally.get(count) ?? 0) + 1)
    const [fields, votes] = [...tally].sort((a, b) => b[1] - a[1])[0] ?? [1, 0]
    const agreement = counts.length === 0 ? 0 : votes / counts.length
    if (fields > 1 && agreement > best.agreement) best = { delimiter, fields, agreement }
  }
  return best
}

/** Up to so many readable, non-empty rows from the start of a text. */
function firstRecords(text: string, delimiter: string, most: number): (CsvRecord & { skipped?: number })[] {
  const rows: (CsvRecord & { skipped?: number })[] = []
  let at = 0
  let skipped = 0
  while (at < text.length && rows.length < most) {
    const record = readRecord(text, at, delimiter, true, true)
    if (record === 'more') break
    if ('broken' in record) {
      const newline = text.indexOf('\n', at)
      if (newline < 0) break
      at = newline + 1
      continue
    }
    at = record.next
    if (record.fields.length === 1 && record.fields[0]?.trim() === '') skipped += record.lines
    else rows.push({ ...record, skipped })
  }
  return rows
}

/** Whether the first row names the columns: short, filled, no numbers, and not among the values below it. */
function isHeader(rows: string[][]): boolean {
  const [first, ...rest] = rows
  if (!first) return false
  const names = first.map((field) => field.trim())
  if (names.some((name) => KNOWN.has(name.toLowerCase()))) return true
  if (names.some((name) => name.length > 60 || /^-?\d+([.,]\d+)?$/.test(name) || /[.!?]$/.test(name))) return false
  if (names.every((name) => name === '')) return false
  return !rest.some((row) => row.some((field, i) => field.trim() !== '' && field.trim() === names[i]))
}
