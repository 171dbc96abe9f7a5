/**
 * How far an answer's words and characters agree with a reference: ROUGE-L, BLEU, chrF. Each row gives counts that add up, so that a
 * corpus score and its bootstrap are sums. Refuses other variants than those named.
 */

/** Words as rouge-score takes them (lower case, letters and digits), with the letters of every script. */
export function rougeWords(text: string): string[] {
  return text.toLowerCase().match(/[\p{L}\p{N}\p{M}]+/gu) ?? []
}

/** F1 of the longest common subsequence of words (Lin 2004), 0 to 1; agrees with rouge-score's rougeL without stemming. */
export function rougeL(answer: string, wanted: string): number {
  const [given, expected] = [rougeWords(answer), rougeWords(wanted)]
  if (given.length === 0 || expected.length === 0) return 0
  const common = longestCommon(given, expected)
  if (common === 0) return 0
  const precision = common / given.length
  const recall = common / expected.length
  return (2 * precision * recall) / (precision + recall)
}

function longestCommon(a: readonly string[], b: readonly string[]): number {
  let row = new Uint32Array(b.length + 1)
  for (const word of a) {
    const next = new Uint32Array(b.length + 1)
    for (let j = 1; j <= b.length; j++) {
      next[j] = word === b[j - 1] ? (row[j - 1] as number) + 1 : Math.max(row[j] as number, next[j - 1] as number)
    }
    row = next
  }
  return row[b.length] as number
}

const BLEU_ORDER = 4
const CHRF_ORDER = 6
/** Recall counts this many times as much as precision. */
const CHRF_BETA = 2

/** sacrebleu's default tokenizer, `13a` (mteval-v13a). */
function words13a(text: string): string[] {
  let line = text.replaceAll('<skipped>', '').replaceAll('-\n', '').replaceAll('\n', ' ')
  line = line.replaceAll('&quot;', '"').replaceAll('&amp;', '&').replaceAll('&lt;', '<').replaceAll('&gt;', '>')
  line = ` ${line} `
    .replaceAll(/([{-~[-` -&(-+:-@/])/g, ' $1 ')
    .replaceAll(/([^0-9])([.,])/g, '$1 $2 ')
    .replaceAll(/([.,])([^0-9])/g, ' $1 $2')
    .replaceAll(/([0-9])(-)/g, '$1 $2 ')
  return line.split(/\s+/u).filter(Boolean)
}

/** Lengths of answer and reference, then matches and totals of each n-gram order: `[2 + 2·4]`, summable. */
export function bleuCounts(answer: string, wanted: string): Float64Array {
  const [given, expected] = [words13a(answer.trimEnd()), words13a(wanted.trimEnd())]
  const counts = new Float64Array(2 + 2 * BLEU_ORDER)
  counts[0] = given.length
  counts[1] = expected.length
  for (let n = 1; n <= BLEU_ORDER; n++) {
    const { matches, first } = compare(grams(given, n), grams(expected, n))
    counts[1 + n] = matches
    counts[1 + BLEU_ORDER + n] = first
  }
  return counts
}

/**
 * Corpus BLEU, 0 to 100, from summed counts (Papineni et al. 2002); agrees with sacrebleu's default (13a, exponential smoothing), with its
 * effective order, so that answers of fewer than four words have a score.
 */
export function bleu(counts: ArrayLike<number>): number {
  const at = (i: number) => counts[i] ?? 0
  const [given, expected] = [at(0), at(1)]
  let smooth = 1
  let logs = 0
  let order = 0
  let any = false
  for (let n = 1; n <= BLEU_ORDER; n++) {
    const [matches, total] = [at(1 + n), at(1 + BLEU_ORDER + n)]
    if (total === 0) break
    order = n
    any ||= matches > 0
    if (matches === 0) smooth *= 2
    logs += Math.log(matches === 0 ? 100 / (smooth * total) : (100 * matches) / total)
  }
  if (!any) return 0
  const brevity = given < expected ? Math.exp(1 - expected / given) : 1
  return brevity * Math.exp(logs / order)
}

/** For each order of character n-grams: those of the answer, of the reference, and both: `[3·6]`, summable. White space does not count. */
export function chrfCounts(answer: string, wanted: string): Float64Array {
  const [given, expected] = [[...answer.replaceAll(/\s+/gu, '')], [...wanted.replaceAll(/\s+/gu, '')]]
  const counts = new Float64Array(3 * CHRF_ORDER)
  for (let n = 1; n <= CHRF_ORDER; n++) {
    const { matches, first, second } = compare(grams(given, n), grams(expected, n))
    // An order of which the reference has nothing says nothing about the answer.
    counts.set([second > 0 ? first : 0, second, matches], 3 * (n - 1))
  }
  return counts
}

/** Corpus chrF2, 0 to 100, from summed counts (Popović 2015); agrees with sacrebleu's default. */
export function chrf(counts: ArrayLike<number>): number {
  let precision = 0
  let recall = 0
  let orders = 0
  for (let i = 0; i < 3 * CHRF_ORDER; i += 3) {
    const [given = 0, expected = 0, matches = 0] = [counts[i], counts[i + 1], counts[i + 2]]
    if (given === 0 || expected === 0) continue
    precision += matches / given
    recall += matches / expected
    orders++
  }
  if (precision + recall === 0) return 0
  const factor = CHRF_BETA ** 2
  return (100 * (1 + factor) * precision * recall) / (factor * precision + recall) / orders
}

function grams(units: readonly string[], n: number): Map<string, number> {
  const found = new Map<string, number>()
  for (let i = 0; i + n <= units.length; i++) {
    const gram = units.slice(i, i + n).join('\u0000')
    found.set(gram, (found.get(gram) ?? 0) + 1)
  }
  return found
}

function compare(a: Map<string, number>, b: Map<string, number>): { matches: number; first: number; second: number } {
  let matches = 0
  let first = 0
  let second = 0
  for (const [gram, count] of a) {
    first += count
    matches += Math.min(count, b.get(gram) ?? 0)
  }
  for (const count of b.values()) second += count
  return { matches, first, second }
}
