/** Reads values out of raw rows: columns and paths, text, lists, truth. Refuses to guess what a column means. */
import { CodedError } from '../../shared/errors'
import { tryJson } from '../../shared/json'
import type { RawRow } from '../types'

/** A bad row, with the column to blame. */
export function badRow(column: string, what: string): CodedError {
  return new CodedError('data.row', what, {
    where: column,
    fix: 'Mend the row in its file, choose another column, or leave the row out.',
  })
}

/** A column's value; `a.0.b` walks into nested values where no column has that very name. */
export function valueAt(row: RawRow, column: string): unknown {
  if (Object.hasOwn(row, column)) return row[column]
  if (!column.includes('.')) return undefined
  let value: unknown = row
  for (const part of column.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined
    value = (value as Record<string, unknown>)[part]
  }
  return value
}

/** Text of any value: numbers and truth values spelled out, objects as JSON, nothing as the empty text. */
export function textOf(value: unknown): string {
  if (typeof value === 'string') return value
  if (value === null || value === undefined) return ''
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

/** A required column's text. @throws CodedError `data.row` where it is missing or only white space. */
export function requiredText(row: RawRow, column: string | undefined, role: string): string {
  if (column === undefined) throw badRow(role, `No column is chosen for "${role}".`)
  const value = valueAt(row, column)
  if (value === undefined || value === null) throw badRow(column, `The column "${column}" is missing.`)
  const text = textOf(value)
  if (text.trim() === '') throw badRow(column, `The column "${column}" is empty.`)
  return text
}

/** An optional column's text; empty where there is none. */
export function optionalText(row: RawRow, column: string | undefined): string {
  return column === undefined ? '' : textOf(valueAt(row, column))
}

/** A list, also where it is written as JSON text (as in a CSV); undefined where it is neither. */
export function listOf(value: unknown): unknown[] | undefined {
  if (Array.isArray(value)) return value
  if (typeof value !== 'string' || !value.trimStart().startsWith('[')) return undefined
  const parsed = tryJson(value)
  return Array.isArray(parsed) ? parsed : undefined
}

/** Yes or no as people write it; undefined where it is neither. */
export function truthOf(value: unknown): boolean | undefined {
  if (typeof value === 'boolean') return value
  if (typeof value === 'number') return value === 1 ? true : value === 0 || value === -1 ? false : undefined
  if (typeof value !== 'string') return undefined
  const word = value.trim().toLowerCase()
  if (['true', 'yes', '1', 'good', 'desirable', 'chosen'].includes(word)) return true
  return ['false', 'no', '0', '-1', 'bad', 'undesirable', 'rejected'].includes(word) ? false : undefined
}
