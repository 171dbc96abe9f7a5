/** Tells how a file is written from its name and its first text. Refuses kinds that hold no rows. */
import { CodedError } from '../../shared/errors'
import type { FileKind } from '../types'
import { sniffDelimiter } from './csv'

const BY_NAME: Record<string, FileKind> = {
  jsonl: 'jsonl',
  ndjson: 'jsonl',
  json: 'json',
  csv: 'csv',
  tsv: 'csv',
  tab: 'csv',
  txt: 'text',
  text: 'text',
  md: 'markdown',
  markdown: 'markdown',
  parquet: 'parquet',
}

const MAGIC: [string, number[], string][] = [
  ['a PDF', [0x25, 0x50, 0x44, 0x46], 'Save its text as a .txt file.'],
  ['an old Office file', [0xd0, 0xcf, 0x11, 0xe0], 'Save it as CSV or text.'],
  ['a model (GGUF)', [0x47, 0x47, 0x55, 0x46], 'Bring it in under Model, or choose a file with examples.'],
  ['a picture', [0x89, 0x50, 0x4e, 0x47], 'Choose a file with text.'],
  ['a picture', [0xff, 0xd8, 0xff], 'Choose a file with text.'],
]

/** The kind a file's name promises; `.gz` at the end is passed over. */
export function kindByName(name: string): FileKind | undefined {
  const extension = /\.([a-z0-9]+)$/i.exec(name.replace(/\.gz$/i, ''))?.[1]?.toLowerCase()
  return extension === undefined ? undefined : BY_NAME[extension]
}

/** Whether bytes begin a Parquet file. */
export function isParquet(bytes: Uint8Array): boolean {
  return bytes[0] === 0x50 && bytes[1] === 0x41 && bytes[2] === 0x52 && bytes[3] === 0x31
}

/** Whether bytes begin a zip archive; office files are such archives too. */
function isZip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x50 && bytes[1] === 0x4b && bytes[2] === 0x03 && bytes[3] === 0x04
}

/** Whether bytes begin a gzip stream. */
export function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b
}

/** @throws CodedError `file.unreadable` for files that are known not to hold rows. */
export function refuseKnown(name: string, bytes: Uint8Array): void {
  if (isZip(bytes)) {
    const office = /\.(xlsx|docx|odt|ods|pptx)$/i.exec(name)?.[1]
    throw new CodedError(
      'file.unreadable',
      `This is ${office ? `an office file (${office})` : 'a zip archive inside another file'}, not a dataset.`,
      {
        where: name,
        fix: office ? 'Save it as CSV or text.' : 'Unpack it and choose the files inside.',
      },
    )
  }
  for (const [what, magic, fix] of MAGIC) {
    if (magic.every((byte, i) => bytes[i] === byte)) {
      throw new CodedError('file.unreadable', `This is ${what}, not a dataset.`, { where: name, fix })
    }
  }
}

/** How a text is to be parsed: by its name, corrected by its first characters. */
export type Reading = 'lines' | 'list' | 'document' | 'table' | 'text' | 'markdown'

/**
 * @param head the first few hundred kilobytes.
 * @param whole whether that is all of it.
 */
export function readingOf(kind: FileKind | undefined, head: string, whole: boolean): Reading {
  const start = head.trimStart()
  if (kind === 'jsonl' || kind === 'json') return jsonReading(kind, start, whole)
  if (kind === 'csv') return 'table'
  if (kind === 'markdown') return 'markdown'
  if (kind === 'text') return 'text'
  if (start.startsWith('[') || start.startsWith('{')) {
    const reading = jsonReading('json', start, whole)
    if (reading !== 'document' || !whole || isJson(start)) return reading
  }
  const shape = sniffDelimiter(head)
  const lines = start.split('\n').length
  return shape.fields > 1 && shape.agreement >= 0.9 && lines >= 2 ? 'table' : 'text'
}

function jsonReading(kind: FileKind, start: string, whole: boolean): Reading {
  const newline = start.indexOf('\n')
  const line = (newline < 0 ? start : start.slice(0, newline)).trim()
  const rest = newline < 0 ? '' : start.slice(newline).trimStart()
  const complete = (newline >= 0 || whole) && isJson(line)
  // A list that stands on one line is a list of rows, unless more lists follow.
  if (start.startsWith('[')) return complete && rest !== '' ? 'lines' : 'list'
  if (kind === 'jsonl') return 'lines'
  if (complete) return rest === '' && whole ? 'document' : 'lines'
  if (!start.startsWith('{')) return 'document'
  return /^\{\s*"/.test(line) && line.endsWith('}') && rest.startsWith('{') ? 'lines' : 'document'
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
