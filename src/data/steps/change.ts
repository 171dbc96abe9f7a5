/** What steps do to one row. Refuses to change the row it is given: what changes is copied. */
import { isTurn } from '../formats/turns'
import { listOf, textOf, valueAt } from '../formats/values'
import type { Mapping } from '../../shared/records'
import { isObject } from '../../shared/json'
import type { RawRow } from '../types'

/** `{name}` replaced by the column's text; an unknown name by nothing; `{{` and `}}` are braces. */
export function fillTemplate(template: string, row: RawRow): string {
  return template.replace(/\{\{|\}\}|\{([^{}]+)\}/g, (whole, name: string | undefined) =>
    name === undefined ? (whole[0] as string) : textOf(valueAt(row, name)),
  )
}

/** A row with one column under another name. */
export function renameColumn(row: RawRow, from: string, to: string): RawRow {
  if (!Object.hasOwn(row, from)) return row
  return Object.fromEntries(
    Object.entries(row).flatMap(([name, value]) =>
      name === from ? [[to, value]] : name === to ? [] : [[name, value]],
    ),
  )
}

/** A mapping that follows a renamed column. */
export function renameInMapping(mapping: Mapping, from: string, to: string): Mapping {
  const columns = Object.entries(mapping.columns).map(([role, column]) => [role, column === from ? to : column])
  return { ...mapping, columns: Object.fromEntries(columns) as Record<string, string> }
}

/** A row whose turns have a role under another name. */
export function renameRole(row: RawRow, from: string, to: string): RawRow {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => {
      const turns = listOf(value)
      if (!turns?.some(isTurn)) return [name, value]
      return [name, turns.map((turn) => renamed(turn, from, to))]
    }),
  )
}

function renamed(turn: unknown, from: string, to: string): unknown {
  if (!isObject(turn)) return turn
  if (turn.role === from) return { ...turn, role: to }
  return turn.from === from ? { ...turn, from: to } : turn
}

/** Every text of a row, also inside turns and lists; roles and ids stay as they are. */
export function mapTexts(row: RawRow, change: (text: string) => string, columns?: readonly string[]): RawRow {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name,
      !columns || columns.includes(name) ? mapValue(value, change) : value,
    ]),
  )
}

const KEPT = new Set(['role', 'from', 'type', 'name', 'id', 'tool_call_id'])

function mapValue(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === 'string') return change(value)
  if (Array.isArray(value)) return value.map((item) => mapValue(item, change))
  if (!isObject(value)) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, KEPT.has(key) ? inner : mapValue(inner, change)]),
  )
}
