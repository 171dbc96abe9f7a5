/** Finds names that stand twice in a JSON object, which JSON.parse passes over. Refuses to check anything else: the text is valid JSON. */

/** A key that occurs twice in the outermost object, or null. */
export function findDuplicateKey(json: string): string | null {
  const seen = new Set<string>()
  let depth = 0
  for (let i = 0; i < json.length; i++) {
    const char = json[i]
    if (char === '{' || char === '[') depth++
    else if (char === '}' || char === ']') depth--
    if (char !== '"') continue
    const start = i++
    while (json[i] !== '"') i += json[i] === '\\' ? 2 : 1
    if (depth !== 1 || !followedByColon(json, i + 1)) continue
    const key = JSON.parse(json.slice(start, i + 1)) as string
    if (seen.has(key)) return key
    seen.add(key)
  }
  return null
}

function followedByColon(json: string, at: number): boolean {
  while (' \t\n\r'.includes(json[at] ?? ':')) at++
  return json[at] === ':'
}
