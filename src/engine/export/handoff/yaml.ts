/** Plain objects as YAML, as far as configurations need it. Refuses values that YAML cannot say. */
import { isObject } from '../../../shared/json'

/** A block of `key: value` lines; texts are written as JSON strings, which YAML reads alike. */
export function toYaml(value: Readonly<Record<string, unknown>>, indent = ''): string {
  return Object.entries(value)
    .map(([key, item]) => {
      if (isObject(item)) return `${indent}${key}:\n${toYaml(item, `${indent}  `)}`
      return `${indent}${key}: ${scalar(item)}\n`
    })
    .join('')
}

/** Lines that a file's reader passes over, and an empty one; nothing for none. */
export function commentsOf(lines: readonly string[]): string {
  return lines.length === 0 ? '' : `${lines.map((line) => `# ${line.replace(/\s+/g, ' ')}\n`).join('')}\n`
}

function scalar(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(scalar).join(', ')}]`
  // YAML 1.1 takes 1e-5 for a text: it wants a point and a sign.
  if (typeof value === 'number') return numberText(value)
  if (typeof value === 'string' || typeof value === 'boolean' || value === null) return JSON.stringify(value)
  throw new Error(`YAML cannot say ${typeof value}`)
}

function numberText(value: number): string {
  if (!Number.isFinite(value)) throw new Error('YAML cannot say what is no number')
  const text = String(value)
  const [digits = '', exponent] = text.split('e')
  if (exponent === undefined) return text
  return `${digits.includes('.') ? digits : `${digits}.0`}e${/^[+-]/.test(exponent) ? exponent : `+${exponent}`}`
}
