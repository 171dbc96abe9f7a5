/** Gathers rows and problems while a file is read: the one place where parsers put things. Refuses to keep rows a sink takes. */
import type { RowProblem } from '../../shared/records'
import type { RawRow } from '../types'

/** Takes rows as they come, a few thousand at a time, so that a large file never lies in memory. */
export type RowSink = (rows: RawRow[]) => void | Promise<void>

/** Rows kept for recognising the format when a sink takes the rest. */
const SAMPLE = 1000
/** Rows handed to a sink at once. */
const BATCH = 2000
/** Characters of a bad row that are kept, and how many bad rows are kept with text. */
const EXCERPT = 200
const MOST_PROBLEMS = 100_000
/** Levels of lists and objects in a row: what is deeper no program writes, and it breaks those that read it. */
const DEEPEST = 100

export class Collector {
  readonly rows: RawRow[] = []
  readonly sample: RawRow[] = []
  readonly problems: RowProblem[] = []
  count = 0
  /** Whether the text may hold U+FFFD where bytes were no UTF-8; rows with it are then set aside. */
  suspect = false
  /** Rows set aside for that. */
  damaged = 0
  readonly #columns = new Map<string, number>()
  readonly #sink: RowSink | undefined

  constructor(sink?: RowSink) {
    this.#sink = sink
  }

  /** Adds a parsed value: objects as they are, lists as numbered columns, texts as `text`; the rest is a problem. */
  value(value: unknown, line: number): void {
    if (typeof value === 'object' && value !== null) {
      if (!Array.isArray(value)) this.#row(value as RawRow, line)
      else this.#row(Object.fromEntries(value.map((item, i) => [`column ${i + 1}`, item as unknown])), line)
    } else if (typeof value === 'string') this.#row({ text: value }, line)
    else
      this.problem(
        line,
        undefined,
        `The row is ${value === null ? 'null' : `a ${typeof value}`}, not an object.`,
        String(value),
      )
  }

  problem(line: number, column: number | undefined, reason: string, text: string): void {
    if (this.problems.length >= MOST_PROBLEMS) return
    const excerpt = text.length > EXCERPT ? `${text.slice(0, EXCERPT)}…` : text
    this.problems.push({ line, ...(column === undefined ? {} : { column }), reason, text: excerpt })
  }

  /** Column names, most common first. */
  columns(): string[] {
    return [...this.#columns].sort((a, b) => b[1] - a[1]).map(([name]) => name)
  }

  /** Gives waiting rows to the sink, if there is one. */
  async flush(all = false): Promise<void> {
    if (!this.#sink) return
    while (this.rows.length >= BATCH || (all && this.rows.length > 0)) await this.#sink(this.rows.splice(0, BATCH))
  }

  #row(row: RawRow, line: number): void {
    const names = Object.keys(row)
    if (names.length === 0) {
      this.problem(line, undefined, 'The row is empty.', '{}')
      return
    }
    if (isDeeper(row, DEEPEST)) {
      this.problem(line, undefined, `The row is nested more than ${DEEPEST} deep.`, names.join(', '))
      return
    }
    if (this.suspect && JSON.stringify(row).includes('\ufffd')) {
      this.damaged++
      this.problem(line, undefined, 'The row holds bytes that are not UTF-8.', JSON.stringify(row))
      return
    }
    for (const name of names) this.#columns.set(name, (this.#columns.get(name) ?? 0) + 1)
    this.rows.push(row)
    if (this.sample.length < SAMPLE) this.sample.push(row)
    this.count++
  }
}

/** Whether a value has more levels than this within it; looks no deeper. */
function isDeeper(value: object, levels: number): boolean {
  return Object.values(value).some(
    (inner) => typeof inner === 'object' && inner !== null && (levels === 0 || isDeeper(inner as object, levels - 1)),
  )
}

/** A parser that is fed text in pieces and puts rows and problems into a collector. */
export interface TextParser {
  push(text: string): void
  end(): void
}
