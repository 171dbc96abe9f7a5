/** Single answers held against what was wanted: the same, contained, matching a pattern, JSON. Refuses to guess what was meant. */

/** Text with its white space made single and its ends trimmed; nothing else is forgiven. */
export function squeeze(text: string): string {
  return text.trim().replaceAll(/\s+/gu, ' ')
}

/** Whether two texts are the same but for white space. */
export function exactMatch(answer: string, wanted: string): boolean {
  return squeeze(answer) === squeeze(wanted)
}

/** Whether the wanted text stands somewhere in the answer, whatever the case of its letters. */
export function contains(answer: string, wanted: string): boolean {
  const needle = squeeze(wanted).toLowerCase()
  return needle !== '' && squeeze(answer).toLowerCase().includes(needle)
}

/** The JSON object or array that a text is, fenced or not; undefined where it is none. Bare numbers and strings are none. */
export function jsonOf(text: string): object | undefined {
  const inner = /^\s*```(?:json)?\s*([\s\S]*?)\s*```\s*$/u.exec(text)?.[1] ?? text
  try {
    const value: unknown = JSON.parse(inner)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

/**
 * The share of the wanted JSON's leaves that the answer has at the same place with the same value; fields that were not asked for
 * count against it. 0 where the answer is no JSON.
 */
export function fieldMatch(answer: string, wanted: string): number {
  const expected = leaves(jsonOf(wanted))
  const given = leaves(jsonOf(answer))
  const all = new Set([...expected.keys(), ...given.keys()])
  if (all.size === 0) return jsonOf(answer) && jsonOf(wanted) ? 1 : 0
  let same = 0
  for (const [path, value] of expected) if (given.get(path) === value) same++
  return same / all.size
}

/** Path → value of everything that is no object or array itself; empty ones count as a leaf. */
function leaves(value: unknown, path = '', into = new Map<string, string>()): Map<string, string> {
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value)
    for (const [key, inner] of entries) leaves(inner, `${path}/${key}`, into)
    if (entries.length === 0 && path !== '') into.set(path, Array.isArray(value) ? '[]' : '{}')
  } else if (value !== undefined) into.set(path, JSON.stringify(value))
  return into
}
