/**
 * The rows of a dataset as a table works on them: looked through, searched, ordered, shown, written to a file.
 * Refuses to change them.
 */
import {
  mapRow,
  partsOf,
  writeExample,
  writeRows,
  type AuditReport,
  type Finding,
  type RawRow,
  type RowFile,
  type SteppedRows,
} from '../src/data'
import { CodedError, toReport } from '../src/shared/errors'
import type { OnProgress } from '../src/shared/files'
import type { RowExport, RowExportResult, RowQuery, TableRow } from '../src/shared/protocol'
import type { Mapping } from '../src/shared/records'
import { asRead } from '../src/shared/roles'

/** Characters of a text that a table shows. */
const SHOWN = 600
const REPORT = 2048
/** Rows written between two pieces of a file. */
const PIECE = 1024

interface Texts {
  prompt: string
  answer: string
  problem?: string
}

/** Prompt and answer of a row; of one that cannot be used, all its values and the reason. */
function textsOf(row: RawRow, mapping: Mapping): Texts {
  try {
    return partsOf(mapRow(row, asRead(mapping)))
  } catch (error) {
    const values = Object.values(row).map((value) => (typeof value === 'string' ? value : JSON.stringify(value)))
    const known = mapping.format === 'unknown' ? {} : { problem: toReport(error).what }
    return { prompt: values.filter(Boolean).join(' · '), answer: '', ...known }
  }
}

/** Findings by position of their row. */
export function findingsByRow(report: AuditReport): Map<number, Finding[]> {
  const byRow = new Map<number, Finding[]>()
  for (const finding of report.findings) {
    const own = finding.side === 'train' ? finding : leakHere(finding)
    if (!own) continue
    const others = byRow.get(own.row)
    if (others) others.push(own)
    else byRow.set(own.row, [own])
  }
  return byRow
}

/** A leak of a validation file as it is seen from the row that it repeats. */
function leakHere({ kind, row, of, ofSide }: Finding): Finding | null {
  if (kind !== 'leak' || of === undefined || ofSide === 'eval') return null
  return { kind, row: of, side: 'train', text: `The row is also row ${row + 1} of the validation dataset.` }
}

/** Positions of the rows that a query asks for, in its order; null for all of them as they are. */
export async function queryRows(
  rows: SteppedRows,
  { search, finding, order }: RowQuery,
  findings: ReadonlyMap<number, readonly Finding[]>,
  onProgress: OnProgress,
  signal: AbortSignal,
): Promise<Uint32Array | null> {
  const wanted = search.trim().toLowerCase()
  if (wanted === '' && finding === null && order === 'file') return null
  const found =
    finding &&
    [...findings].flatMap(([row, its]) => (its.some(({ kind }) => kind === finding) ? [row] : [])).sort((a, b) => a - b)
  if (wanted === '' && order === 'file') return Uint32Array.from(found ?? [])
  const kept: number[] = []
  const lengths: number[] = []
  let done = 0
  for await (const [position, row] of at(rows, found)) {
    const { prompt, answer } = textsOf(row, rows.mapping)
    if (wanted === '' || `${prompt}\n${answer}`.toLowerCase().includes(wanted)) {
      kept.push(position)
      lengths.push(prompt.length + answer.length)
    }
    if (++done % REPORT !== 0) continue
    if (signal.aborted) throw new CodedError('cancelled', 'Another search was begun.')
    onProgress({ stage: 'Searching', done, total: rows.count, unit: 'rows' })
  }
  if (order === 'file') return Uint32Array.from(kept)
  const sign = order === 'longest' ? -1 : 1
  const places = kept.map((_, i) => i)
  places.sort((a, b) => sign * ((lengths[a] as number) - (lengths[b] as number)) || a - b)
  return Uint32Array.from(places, (place) => kept[place] as number)
}

async function* at(rows: SteppedRows, positions: readonly number[] | null): AsyncGenerator<[number, RawRow]> {
  if (!positions) {
    let position = 0
    for await (const row of rows) yield [position++, row]
    return
  }
  for (let from = 0; from < positions.length; from += PIECE) {
    const some = positions.slice(from, from + PIECE)
    const picked = await rows.pick(some)
    for (const [i, row] of picked.entries()) yield [some[i] as number, row]
  }
}

/** Rows as a table shows them. */
export async function tableRows(
  rows: SteppedRows,
  positions: readonly number[],
  findings: ReadonlyMap<number, Finding[]>,
): Promise<TableRow[]> {
  const there = positions.filter((position) => position < rows.count)
  const picked = await rows.pick(there)
  return picked.map((row, i) => {
    const position = there[i] as number
    const { prompt, answer, ...problem } = textsOf(row, rows.mapping)
    const origin = rows.originAt(position)
    return {
      position,
      number: rows.numberAt(position),
      prompt: prompt.slice(0, SHOWN),
      answer: answer.slice(0, SHOWN),
      ...problem,
      ...(origin ? { origin } : {}),
      findings: findings.get(position) ?? [],
    }
  })
}

const COLUMNS: Record<Exclude<RowExport['format'], 'columns'>, readonly string[]> = {
  alpaca: ['instruction', 'input', 'output', 'system', 'history'],
  sharegpt: ['conversations', 'tools'],
  chat: ['messages', 'tools'],
  pair: ['prompt', 'completion'],
  text: ['text'],
}

/** All rows in a format; those that it cannot say are counted and left out. */
export async function exportRows(
  rows: SteppedRows,
  { format, file }: RowExport,
  onProgress: OnProgress,
): Promise<RowExportResult> {
  const pieces: string[] = []
  let left = 0
  let reason = ''
  let written = 0
  const convert = (row: RawRow): RawRow[] => {
    if (format === 'columns') return [row]
    try {
      return [writeExample(mapRow(row, rows.mapping), format)]
    } catch (error) {
      left++
      reason ||= toReport(error).what
      return []
    }
  }
  const columns = format === 'columns' ? rows.columns : COLUMNS[format]
  if (file === 'csv' || file === 'tsv') pieces.push(...writeRows([], file, columns))
  if (file === 'json') pieces.push('[\n')
  for (let from = 0; from < rows.count; from += PIECE) {
    const some = (await rows.slice(from, from + PIECE)).flatMap(convert)
    pieces.push(pieceOf(some, file, columns, written))
    written += some.length
    onProgress({ stage: 'Writing rows', done: from + some.length, total: rows.count, unit: 'rows' })
  }
  if (file === 'json') pieces.push('\n]\n')
  return { blob: new Blob(pieces, { type: 'text/plain' }), left, reason }
}

function pieceOf(
  rows: readonly RawRow[],
  file: RowExport['file'],
  columns: readonly string[],
  written: number,
): string {
  if (file === 'txt') return rows.map((row) => `${String(row.text)}\n\n`).join('')
  if (file === 'json') {
    const text = rows.map((row) => JSON.stringify(row)).join(',\n')
    return written > 0 && text ? `,\n${text}` : text
  }
  const lines = [...writeRows(rows, file satisfies RowFile, columns)]
  return (file === 'jsonl' ? lines : lines.slice(1)).join('')
}
