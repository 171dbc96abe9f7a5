/** A row as the fields of a form and back: texts, turns of a chat, anything else as JSON. Refuses to change what is not edited. */
import type { Mapping } from '../shared/records'
import { formatInfo } from '../shared/roles'

export interface Turn {
  role: string
  content: string
}
type FieldValue = { kind: 'text'; text: string } | { kind: 'turns'; turns: Turn[] } | { kind: 'json'; text: string }
export interface RowField {
  column: string
  /** What the column is for; empty where the mapping does not use it. */
  role: string
  value: FieldValue
}
type Row = Record<string, unknown>

/** The fields of a row, those that the mapping uses first. */
export function fieldsOf(row: Row, mapping: Mapping, columns: readonly string[]): RowField[] {
  const roles = Object.fromEntries(Object.entries(mapping.columns).map(([role, column]) => [column, role]))
  const used = (formatInfo(mapping.format)?.roles ?? []).flatMap(({ name }) => mapping.columns[name] ?? [])
  const names = new Set([...used, ...Object.keys(row), ...columns].filter((name) => !name.includes('.') || name in row))
  return [...names].map((column) => ({ column, role: roles[column] ?? '', value: valueOf(row[column]) }))
}

/** An empty row of a mapping. */
export function emptyRow(mapping: Mapping): Row {
  const roles = (formatInfo(mapping.format)?.roles ?? []).filter(({ required }) => required)
  return Object.fromEntries(
    roles.map(({ name }) => {
      const column = mapping.columns[name] ?? name
      if (name === 'messages') return [column, [{ role: 'user', content: '' }, { role: 'assistant', content: '' }]] // prettier-ignore
      if (name === 'conversations')
        return [
          column,
          [
            { from: 'human', value: '' },
            { from: 'gpt', value: '' },
          ],
        ]
      return [column, name === 'input_ids' ? [] : '']
    }),
  )
}

function valueOf(value: unknown): FieldValue {
  if (value === undefined || value === null) return { kind: 'text', text: '' }
  if (typeof value === 'string') return { kind: 'text', text: value }
  if (typeof value !== 'object') return { kind: 'text', text: String(value) }
  const turns = Array.isArray(value) ? value.map(turnOf) : [null]
  if (turns.length > 0 && turns.every((turn) => turn !== null)) return { kind: 'turns', turns }
  return { kind: 'json', text: JSON.stringify(value, null, 1) }
}

/** Only what a role and a text say whole; a turn with calls or images is shown as JSON. */
function turnOf(value: unknown): Turn | null {
  if (typeof value !== 'object' || value === null) return null
  const keys = Object.keys(value).sort().join(' ')
  const { role, content, from, value: said } = value as Record<string, unknown>
  if (keys === 'content role' && typeof role === 'string' && typeof content === 'string') return { role, content }
  if (keys === 'from value' && typeof from === 'string' && typeof said === 'string')
    return { role: from, content: said }
  return null
}

/**
 * The row with what was edited.
 * @throws Error with a sentence for the person where JSON cannot be read.
 */
export function rowOf(row: Row, fields: readonly RowField[]): Row {
  const result = { ...row }
  for (const { column, value } of fields) {
    const before = row[column]
    if (JSON.stringify(valueOf(before)) === JSON.stringify(value)) continue
    result[column] = written(column, value, before)
  }
  return result
}

function written(column: string, value: FieldValue, before: unknown): unknown {
  if (value.kind === 'turns') {
    const shareGpt = Array.isArray(before) && before.some((turn) => typeof turn === 'object' && turn && 'from' in turn)
    return value.turns.map(({ role, content }) => (shareGpt ? { from: role, value: content } : { role, content }))
  }
  if (value.kind === 'json') {
    try {
      return JSON.parse(value.text) as unknown
    } catch (error) {
      throw new Error(`${column} is not JSON: ${(error as Error).message}`)
    }
  }
  if (typeof before === 'number' && value.text.trim() !== '' && Number.isFinite(Number(value.text)))
    return Number(value.text)
  if (typeof before === 'boolean' && /^(true|false)$/.test(value.text)) return value.text === 'true'
  return value.text
}
