/**
 * Changes one field of a JSON object in its text, so that everything else stays as it was written: Python tells 1.0 from 1, and
 * JSON.stringify does not. Refuses texts that are not objects.
 */

/** The text with the outermost field `key` set to `value`, added at the end where it is new. */
export function setJsonField(json: string, key: string, value: unknown): string {
  const written = JSON.stringify(value, null, 2).replaceAll('\n', '\n  ')
  const span = findValue(json, key)
  if (span) return json.slice(0, span.start) + written + json.slice(span.end)
  const end = json.lastIndexOf('}')
  const before = json.slice(0, end).trimEnd()
  const comma = before.endsWith('{') ? '' : ','
  return `${before}${comma}\n  ${JSON.stringify(key)}: ${written}\n${json.slice(end)}`
}

/** Where the value of an outermost field stands; the last one counts, as it does for JSON.parse. */
function findValue(json: string, key: string): { start: number; end: number } | null {
  let found: { start: number; end: number } | null = null
  let depth = 0
  let name = ''
  let start = -1
  for (let i = 0; i < json.length; i++) {
    const char = json[i]
    if (char === '"') {
      const from = i++
      while (json[i] !== '"') i += json[i] === '\\' ? 2 : 1
      if (depth === 1 && start < 0) name = JSON.parse(json.slice(from, i + 1)) as string
    } else if (char === '{' || char === '[') depth++
    else if (char === ':' && depth === 1 && start < 0) start = i + 1
    else if (char === '}' || char === ']' || char === ',') {
      if (depth === 1 && start >= 0) {
        if (name === key) found = trim(json, start, i)
        start = -1
      }
      if (char !== ',') depth--
    }
  }
  return found
}

function trim(json: string, start: number, end: number): { start: number; end: number } {
  const text = json.slice(start, end)
  return { start: start + text.length - text.trimStart().length, end: start + text.trimEnd().length }
}
