/** Token statistics of a dataset and a verdict on it. Refuses to keep the rows it counts. */
import type { Tokenizer } from '../engine/tokenizer'
import type { ChatTemplate } from '../engine/tokenizer/chat-template'
import type { OnProgress } from '../shared/files'
import type { DatasetStats, Mapping } from '../shared/records'
import { Splitter, type SplitSettings } from './batch/keys'
import type { Split } from './batch/split'
import { partsOf } from './formats/parts'
import { fingerprint } from './hash'
import { encodeRow, unknownFormat, withBreaks } from './prepare'
import type { EncodeOptions, RowSource } from './types'

type StatsOptions = EncodeOptions & SplitSettings
interface StatsCalls {
  total?: number
  onProgress?: OnProgress
  signal?: AbortSignal
}

const REPORT = 256
const BARS = 20

/**
 * Counts every row as it would be trained on.
 * @throws CodedError `data.columns` where the format is not known; `cancelled` on abort.
 */
export async function datasetStats(
  rows: RowSource,
  mapping: Mapping,
  tokenizer: Tokenizer,
  template: ChatTemplate,
  options: StatsOptions,
  { total = 0, onProgress, signal }: StatsCalls = {},
): Promise<DatasetStats> {
  if (mapping.format === 'unknown') throw unknownFormat()
  const tally = new Tally()
  const splitter = new Splitter(options)
  let index = 0
  for await (const row of withBreaks(rows, signal)) {
    const { example, encoded, reason } = encodeRow(row, mapping, tokenizer, template, options)
    if (example && encoded && reason === undefined) {
      const { prompt, answer } = partsOf(example)
      tally.add(encoded.inputIds.length, encoded.truncated, encoded.trainedTokens)
      tally.compare(prompt, answer)
      splitter.add(row, example)
    } else tally.unusable++
    if (++index % REPORT === 0) onProgress?.({ stage: 'Counting tokens', done: index, total, unit: 'rows' })
  }
  onProgress?.({ stage: 'Counting tokens', done: index, total: index, unit: 'rows' })
  return { ...tally.finish(index, splitter.split()), format: mapping.format }
}

class Tally {
  unusable = 0
  readonly #lengths: number[] = []
  #tokens = 0
  #trained = 0
  #truncated = 0
  #duplicates = 0
  readonly #rows = new Set<number>()
  /** Prompt → its first answer, or 0 once it is known to have several. */
  readonly #answers = new Map<number, number>()
  #conflicts = 0

  add(length: number, truncated: number, trained: number): void {
    this.#lengths.push(length + truncated)
    this.#tokens += length
    this.#trained += trained
    if (truncated > 0) this.#truncated++
  }

  compare(prompt: string, answer: string): void {
    const asked = fingerprint(prompt)
    const answered = fingerprint(answer, 1)
    const whole = fingerprint(`${asked} ${answered}`)
    if (this.#rows.has(whole)) {
      this.#duplicates++
      return
    }
    this.#rows.add(whole)
    if (prompt === '') return
    const known = this.#answers.get(asked)
    if (known === undefined) this.#answers.set(asked, answered)
    else if (known !== 0) {
      this.#answers.set(asked, 0)
      this.#conflicts++
    }
  }

  finish(rows: number, split: Split): DatasetStats {
    const sorted = Float64Array.from(this.#lengths).sort()
    const usable = sorted.length
    const counts = {
      rows,
      tokens: this.#tokens,
      trainedTokens: this.#trained,
      lengths: {
        min: sorted[0] ?? 0,
        median: quantile(sorted, 0.5),
        p95: quantile(sorted, 0.95),
        max: sorted[usable - 1] ?? 0,
        histogram: histogram(sorted),
      },
      truncatedRows: this.#truncated,
      emptyRows: this.unusable,
      duplicateRows: this.#duplicates,
      conflictingPrompts: this.#conflicts,
      trainRows: split.train.length,
      evalRows: split.eval.length,
    }
    return { ...counts, ...judge(counts) }
  }
}

/** The value below which a share of the sorted values lies (nearest rank); 0 without values. */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  if (sorted.length === 0) return 0
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] as number
}

/**
 * About twenty bars of a round width from the shortest to the longest; `to` is exclusive. Where a few are far longer than all others,
 * they share a last, wider bar, so that the others can be told apart.
 */
export function histogram(sorted: ArrayLike<number>): { from: number; to: number; rows: number }[] {
  if (sorted.length === 0) return []
  const low = sorted[0] as number
  const longest = sorted[sorted.length - 1] as number
  // At least one row, so that in a small set one that stands apart is seen to.
  const apart = Math.max(1, Math.floor(sorted.length / 100))
  const most = sorted[Math.max(0, sorted.length - 1 - apart)] as number
  const tail = sorted.length > 5 && longest > FAR * most
  const high = tail ? most : longest
  const width = roundUp((high - low + 1) / BARS)
  const first = Math.floor(low / width) * width
  const bars = Array.from({ length: Math.floor((high - first) / width) + 1 }, (_, i) => ({
    from: first + i * width,
    to: first + (i + 1) * width,
    rows: 0,
  }))
  for (let i = 0; i < sorted.length; i++) {
    const bar = bars[Math.floor(((sorted[i] as number) - first) / width)]
    if (bar) bar.rows++
  }
  if (!tail) return bars
  const from = first + bars.length * width
  const rows = sorted.length - bars.reduce((sum, bar) => sum + bar.rows, 0)
  return rows > 0 ? [...bars, { from, to: longest + 1, rows }] : bars
}

/** How many times as long as 99 of 100 rows (of a small set: as all but one) the longest must be to stand apart. */
const FAR = 2

/** The next of 1, 2, 5, 10, 20, 50 … */
function roundUp(width: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, width)))
  const step = [1, 2, 5, 10].find((factor) => factor * power >= width) ?? 10
  return Math.max(1, step * power)
}

type Counts = Omit<DatasetStats, 'verdict' | 'tone'>

/**
 * A sentence and a tone from the counts. The numbers: 500 to 2,000 good examples suffice for most tasks, a few dozen teach a
 * manner or a name; repeats and contradictions above a twentieth, and cuts above a tenth, are mended first.
 */
export function judge(counts: Counts): Pick<DatasetStats, 'verdict' | 'tone'> {
  const distinct = counts.rows - counts.emptyRows - counts.duplicateRows
  const number = (value: number) => value.toLocaleString('en')
  const rows = distinct === 1 ? '1 good row' : `${number(distinct)} good rows`
  if (distinct === 0) return { verdict: 'No row can be trained on: check the format and its columns.', tone: 'poor' }
  const mend = firstFault(counts, distinct)
  const said = mend ? ` Mend first: ${mend}.` : ''
  if (distinct < 10) return { verdict: `${rows}: too few to learn more than these very answers.${said}`, tone: 'poor' }
  if (distinct < 50)
    return {
      verdict: `${rows}: enough for a name or a manner, not for a task; add more.${said}`,
      tone: mend ? 'poor' : 'fair',
    }
  if (distinct < 500)
    return { verdict: `${rows}: enough for a style or a narrow task; 500 to 2,000 are safer.${said}`, tone: 'fair' }
  if (mend) return { verdict: `${rows}: enough for most tasks.${said}`, tone: 'fair' }
  if (distinct <= 2000) return { verdict: `${rows}: enough for most tasks.`, tone: 'good' }
  return { verdict: `${rows}: plenty; one or two epochs may do.`, tone: 'good' }
}

function firstFault(counts: Counts, distinct: number): string | undefined {
  const of = (count: number, word: string) => `${count.toLocaleString('en')} ${word}`
  if (counts.emptyRows > counts.rows / 10) return of(counts.emptyRows, 'rows that cannot be used')
  if (counts.conflictingPrompts > distinct / 20) return of(counts.conflictingPrompts, 'prompts with different answers')
  if (counts.truncatedRows > distinct / 10)
    return of(counts.truncatedRows, 'rows that lose their end to the maximum length')
  if (counts.duplicateRows > counts.rows / 20) return of(counts.duplicateRows, 'rows that repeat another')
  return undefined
}
