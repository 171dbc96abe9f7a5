/** Names near to a mistyped one. Refuses to guess where nothing is near. */

/**
 * Up to three of the known names within about a third of the word's length in edits, or with one as the start of the other;
 * nearest first.
 */
export function nearest(word: string, known: readonly string[]): string[] {
  const limit = Math.max(1, Math.ceil(word.length / 3))
  return known
    .map((name) => ({ name, distance: name.startsWith(word) || word.startsWith(name) ? 1 : edits(word, name) }))
    .filter(({ distance }) => distance <= limit)
    .sort((a, b) => a.distance - b.distance)
    .slice(0, 3)
    .map(({ name }) => name)
}

/** Levenshtein distance. */
export function edits(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(change, (row[j] as number) + 1, (next[j - 1] as number) + 1))
    }
    row = next
  }
  return row[b.length] as number
}
