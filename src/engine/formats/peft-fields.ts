/** Fields of adapter_config.json, checked one by one. Refuses to know which method has which. */
import { CodedError } from '../../shared/errors'
import { isObject } from '../../shared/json'

export const ADAPTER_CONFIG = 'adapter_config.json'

export function wrong(what: string, where: string, cause?: unknown): CodedError {
  return new CodedError('adapter.mismatch', what, { where, fix: 'Export the adapter again.', cause })
}

export function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === false) return true
  return Array.isArray(value) ? value.length === 0 : isObject(value) && Object.keys(value).length === 0
}
export function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value)
}
/** A rank, or another size of that order. */
export function isRank(value: unknown): value is number {
  return isNumber(value) && Number.isInteger(value) && value >= 1 && value <= 65536
}
export function text(value: unknown): string | null {
  return typeof value === 'string' ? value : null
}
/** @throws CodedError `adapter.mismatch` */
export function size(json: Record<string, unknown>, field: string): number {
  const value = json[field]
  if (isRank(value)) return value
  throw wrong(
    `${field} is ${JSON.stringify(value)} and no whole number from 1 to 65536.`,
    `${ADAPTER_CONFIG}, ${field}`,
  )
}
/** Names of modules, a pattern for them, or nothing. Throws CodedError `adapter.mismatch`. */
export function targets(value: unknown, field = 'target_modules'): string[] | string | null {
  if (value === undefined || value === null || typeof value === 'string') return value ?? null
  if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return value
  throw wrong(`${field} is not a list of names.`, `${ADAPTER_CONFIG}, ${field}`)
}
