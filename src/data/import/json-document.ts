/** Finds the rows inside one JSON document that is not itself a list. Refuses documents in which no list of rows is found. */
import { CodedError } from '../../shared/errors'
import { isObject } from '../../shared/json'
import { detectFormat } from '../formats/detect'
import type { RawRow } from '../types'
import type { Collector, TextParser } from './collector'
import { findJsonFault, placeOf } from './json-error'

/** Characters of a document that is read as a whole; lists are streamed and have no such limit. */
const LARGEST = 256 * 1024 * 1024
/** Names under which files keep their rows, the likeliest first. */
const USUAL = ['train', 'data', 'rows', 'examples', 'instances', 'items', 'records', 'conversations']
const DEEPEST = 4

export class JsonDocumentParser implements TextParser {
  readonly #out: Collector
  readonly #name: string
  #parts: string[] = []
  #length = 0
  /** Where the rows were found, for the sentence that says why. */
  note = ''

  constructor(out: Collector, name: string) {
    this.#out = out
    this.#name = name
  }

  push(text: string): void {
    this.#parts.push(text)
    this.#length += text.length
    if (this.#length > LARGEST) {
      throw new CodedError(
        'file.too-large',
        'A JSON file of this size must be a list of rows, or have one row a line.',
        {
          where: this.#name,
          fix: 'Save it as JSON Lines: one row a line.',
        },
      )
    }
  }

  end(): void {
    const text = this.#parts.join('')
    this.#parts = []
    let document: unknown
    try {
      document = JSON.parse(text)
    } catch {
      const fault = findJsonFault(text)
      const place = placeOf(text, fault?.offset ?? 0)
      throw notJson(this.#name, place, fault?.reason ?? 'The text is not JSON.')
    }
    const found = findRows(document, this.#name)
    this.note = found.note
    found.rows.forEach((row, i) => this.#out.value(row, i + 1))
  }
}

/** The error of a file that is no JSON. */
export function notJson(name: string, place: { line: number; column: number }, reason: string): CodedError {
  return new CodedError('data.not-json', `This is not JSON: ${reason}`, {
    where: `${name}, line ${place.line}, column ${place.column}`,
    fix: 'Mend the file there, or save it again as JSON, JSON Lines or CSV.',
  })
}

interface FoundRows {
  rows: unknown[]
  /** "in train", where they are not the document itself. */
  note: string
}

/**
 * The rows of a parsed document: itself if it is a row, a list in it, its columns turned, or its values.
 * @throws CodedError `data.columns` where there are none.
 */
function findRows(document: unknown, name: string): FoundRows {
  if (Array.isArray(document)) return { rows: document, note: '' }
  if (!isObject(document)) throw noRows(name, 'It holds a single value.')
  if (isDatasetInfo(document)) {
    const files = Object.values(document).map((entry) => String((entry as RawRow).file_name ?? ''))
    const named = files.filter(Boolean).slice(0, 5).join(', ')
    throw new CodedError('data.columns', 'This is a dataset_info.json: it describes datasets and holds none.', {
      where: name,
      fix: `Choose a file that it describes${named ? `: ${named}` : ''}.`,
    })
  }
  if (detectFormat([document]).mapping.format !== 'unknown' && !isColumns(document))
    return { rows: [document], note: '' }
  if (isColumns(document)) return { rows: turnColumns(document), note: 'with its columns as lists' }
  const inside = largestList(document, '', 0)
  if (inside) return { rows: inside.rows, note: `in "${inside.path}"` }
  const values = Object.values(document)
  if (values.length > 1 && detectFormat(values.filter(isObject)).mapping.format !== 'unknown') {
    return { rows: values, note: 'by name' }
  }
  throw noRows(name, 'It is one object without a list of rows in it.')
}

/** Columns of equal length that make rows of a known format when turned. */
function isColumns(document: RawRow): boolean {
  const lists = Object.values(document)
  const length = Array.isArray(lists[0]) ? lists[0].length : 0
  if (lists.length < 2 || length < 2 || !lists.every((list) => Array.isArray(list) && list.length === length))
    return false
  return detectFormat(turnColumns(document).slice(0, 50)).mapping.format !== 'unknown'
}

function turnColumns(document: RawRow): RawRow[] {
  const names = Object.keys(document)
  const length = (document[names[0] as string] as unknown[]).length
  return Array.from({ length }, (_, i) =>
    Object.fromEntries(names.map((key) => [key, (document[key] as unknown[])[i]])),
  )
}

function isDatasetInfo(document: RawRow): boolean {
  const entries = Object.values(document)
  const keys = ['file_name', 'hf_hub_url', 'script_url', 'ms_hub_url', 'cloud_file_name']
  return entries.length > 0 && entries.every((entry) => isObject(entry) && keys.some((key) => key in entry))
}

/** The list of rows under the likeliest name, else the longest. */
function largestList(document: RawRow, path: string, depth: number): { rows: unknown[]; path: string } | undefined {
  const lists: { rows: unknown[]; path: string; key: string }[] = []
  for (const [key, value] of Object.entries(document)) {
    const at = path === '' ? key : `${path}.${key}`
    if (Array.isArray(value) && value.length > 0 && looksLikeRows(value)) {
      lists.push({ rows: value.map(unwrapRow), path: at, key })
    } else if (isObject(value) && depth < DEEPEST) {
      const inner = largestList(value, at, depth + 1)
      if (inner) lists.push({ ...inner, key })
    }
  }
  const rank = (key: string) => (USUAL.includes(key) ? USUAL.indexOf(key) : USUAL.length)
  return lists.sort((a, b) => rank(a.key) - rank(b.key) || b.rows.length - a.rows.length)[0]
}

/** Objects that a format is seen in, or lists of two or more items. */
function looksLikeRows(list: unknown[]): boolean {
  const first = list.slice(0, 50).map(unwrapRow)
  if (first.every((item) => Array.isArray(item) && item.length >= 2)) return true
  return first.every(isObject) && detectFormat(first).mapping.format !== 'unknown'
}

/** `{row: {…}, row_idx}` as the Hub's viewer writes rows. */
function unwrapRow(item: unknown): unknown {
  return isObject(item) && isObject(item.row) && 'row_idx' in item ? item.row : item
}

function noRows(name: string, what: string): CodedError {
  return new CodedError('data.columns', `No rows were found. ${what}`, {
    where: name,
    fix: 'Choose a file with a list of examples: JSON Lines, a JSON list, CSV or text.',
  })
}
