/** Rows to the text of a file: JSON Lines, JSON, CSV, TSV. Refuses to lose a value: what a table cannot hold is written as JSON. */
import { textOf } from '../formats/values'
import type { RawRow } from '../types'

export type RowFile = 'jsonl' | 'json' | 'csv' | 'tsv'

/**
 * Pieces of the file, one a row, so that it never lies in memory as a whole.
 * @param columns the columns of a table, in order; all columns of all rows if left out.
 */
export function* writeRows(rows: readonly RawRow[], file: RowFile, columns?: readonly string[]): Generator<string> {
  if (file === 'jsonl') for (const row of rows) yield `${JSON.stringify(row)}\n`
  else if (file === 'json') {
    yield '[\n'
    for (const [i, row] of rows.entries()) yield `${JSON.stringify(row)}${i < rows.length - 1 ? ',' : ''}\n`
    yield ']\n'
  } else {
    const names = columns ?? [...new Set(rows.flatMap((row) => Object.keys(row)))]
    const delimiter = file === 'csv' ? ',' : '\t'
    const line = (values: readonly string[]) => `${values.map(quoted).join(delimiter)}\r\n`
    yield line(names)
    for (const row of rows) yield line(names.map((name) => textOf(row[name])))
  }
}

/** A field in quotes wherever a reader could take it for something else. */
function quoted(text: string): string {
  return /["\r\n,;|\t]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
