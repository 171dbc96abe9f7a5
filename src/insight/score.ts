/** Measured rows to scores of base beside tuned, with intervals and the rows to read. Refuses to score what rows do not ask for. */
import type { Interval, JudgedRow, JudgedTask, LabelReport, Score, ScoreKey } from '../shared/judgement'
import type { RowFormat } from '../shared/records'
import { contains, exactMatch, fieldMatch, jsonOf, squeeze } from './metrics/answers'
import { bootstrap, meanOf } from './metrics/interval'
import { classOf, labelScores, type LabelScores } from './metrics/labels'
import { bleu, bleuCounts, chrf, chrfCounts, rougeL } from './metrics/overlap'

type Side = 'base' | 'tuned'

/** A row as it was measured: token losses of both models, and their answers where they were asked. */
export interface MeasuredRow {
  index: number
  prompt: string
  wanted: string
  /** Labels that counted. */
  tokens: number
  /** Mean loss in nats over them. */
  loss: Record<Side, number>
  /** Of them, those that were the likeliest token. */
  correct: Record<Side, number>
  answers?: Record<Side, string> & { shots?: string }
}

export interface Scored {
  lead: ScoreKey
  scores: Score[]
  labels?: LabelReport
  best: JudgedRow[]
  worst: JudgedRow[]
}

/** Rows to read at either end, and how much of each text. */
const READ = 6
const TEXT = 2000
/** Answers count as classes when they are few, short and come again. */
const CLASSES = 24
const CLASS_LENGTH = 40

/** What rows ask for, from their format and from what is wanted of them. */
export function taskOf(format: RowFormat, wanted: readonly string[]): JudgedTask {
  if (format === 'text' || format === 'tokens' || wanted.length === 0) return 'text'
  if (format === 'label') return 'labels'
  if (wanted.filter((text) => jsonOf(text) !== undefined).length >= 0.8 * wanted.length) return 'json'
  const distinct = new Set(wanted.map(squeeze))
  const short = [...distinct].every((text) => text.length <= CLASS_LENGTH)
  return short && distinct.size <= CLASSES && wanted.length >= 4 * distinct.size && distinct.size > 1
    ? 'labels'
    : 'answers'
}

/** A score as a statistic of one side over rows by their numbers; rows may repeat. */
type Statistic = (side: Side | 'shots', rows: ArrayLike<number>) => number

/**
 * Every score that the task has.
 * @param pattern a regular expression that good answers match; empty for none.
 */
export function scoreRows(rows: readonly MeasuredRow[], task: JudgedTask, pattern = ''): Scored {
  const answered = rows.filter((row) => row.answers)
  const scores = lossScores(rows)
  const qualities = answered.length > 0 && task !== 'text'
  let labels: LabelReport | undefined
  if (qualities) {
    const classes = task === 'labels' ? classesOf(rows) : []
    const statistics = task === 'labels' ? labelStatistics(answered, classes) : textStatistics(answered, task, pattern)
    const shots = answered.every((row) => row.answers?.shots !== undefined)
    for (const [key, statistic] of Object.entries(statistics)) {
      scores.push(compare(key as ScoreKey, answered.length, statistic, shots))
    }
    if (task === 'labels') labels = labelReport(answered, classes)
  }
  const lead = leadOf(task, qualities, scores)
  return { lead, scores, ...(labels ? { labels } : {}), ...ends(rows, task, qualities) }
}

function leadOf(task: JudgedTask, answered: boolean, scores: readonly Score[]): ScoreKey {
  if (!answered) return 'perplexity'
  if (task === 'labels') return 'accuracy'
  if (task === 'json') return 'fields'
  const exact = scores.find(({ key }) => key === 'exact')
  return exact && Math.max(exact.tuned.value, exact.base.value) >= 0.25 ? 'exact' : 'rougeL'
}

function compare(key: ScoreKey, rows: number, statistic: Statistic, shots = false): Score {
  const of = (side: Side | 'shots') => bootstrap(rows, (indices) => statistic(side, indices))
  return {
    key,
    base: of('base'),
    tuned: of('tuned'),
    // The same rows on both sides of each draw: what is hard for both does not blur the difference.
    difference: bootstrap(rows, (indices) => statistic('tuned', indices) - statistic('base', indices)),
    ...(shots ? { shots: of('shots') } : {}),
  }
}

function lossScores(rows: readonly MeasuredRow[]): Score[] {
  const mean = (pick: (row: MeasuredRow) => number) => (indices: ArrayLike<number>) => {
    let total = 0
    let tokens = 0
    for (let i = 0; i < indices.length; i++) {
      const row = rows[indices[i] as number] as MeasuredRow
      total += pick(row)
      tokens += row.tokens
    }
    return total / tokens
  }
  const side = (name: Side | 'shots'): Side => (name === 'tuned' ? 'tuned' : 'base')
  const loss: Statistic = (name, indices) => mean((row) => row.loss[side(name)] * row.tokens)(indices)
  return [
    compare('loss', rows.length, loss),
    compare('perplexity', rows.length, (name, indices) => Math.exp(loss(name, indices))),
    compare('tokenAccuracy', rows.length, (name, indices) => mean((row) => row.correct[side(name)])(indices)),
  ]
}

function textStatistics(
  rows: readonly MeasuredRow[],
  task: JudgedTask,
  pattern: string,
): Partial<Record<ScoreKey, Statistic>> {
  const answer = (row: MeasuredRow, side: Side | 'shots') => row.answers?.[side] ?? ''
  const mean = (score: (answer: string, wanted: string) => number): Statistic => {
    const values = perSide(rows, (row, side) => score(answer(row, side), row.wanted))
    return (side, indices) => meanOf(values(side), indices)
  }
  const corpus = (counts: (answer: string, wanted: string) => Float64Array, total: (sum: Float64Array) => number) => {
    const values = perSide(rows, (row, side) => counts(answer(row, side), row.wanted))
    return ((side, indices) => total(sumAt(values(side), indices))) satisfies Statistic
  }
  const flag = (test: (answer: string, wanted: string) => boolean) => mean((a, w) => (test(a, w) ? 1 : 0))
  const wanted = pattern === '' ? null : new RegExp(pattern, 'u')
  return {
    exact: flag(exactMatch),
    contains: flag(contains),
    ...(wanted ? { pattern: flag((text) => wanted.test(text)) } : {}),
    ...(task === 'json' ? { jsonValid: flag((text) => jsonOf(text) !== undefined), fields: mean(fieldMatch) } : {}),
    rougeL: mean(rougeL),
    bleu: corpus(bleuCounts, bleu),
    chrf: corpus(chrfCounts, chrf),
  }
}

/** A value for each row and side, made when a side is first asked for. */
function perSide<T>(
  rows: readonly MeasuredRow[],
  make: (row: MeasuredRow, side: Side | 'shots') => T,
): (side: Side | 'shots') => T[] {
  const made = new Map<string, T[]>()
  return (side) => {
    const known = made.get(side) ?? rows.map((row) => make(row, side))
    made.set(side, known)
    return known
  }
}

function sumAt(counts: readonly Float64Array[], indices: ArrayLike<number>): Float64Array {
  const total = new Float64Array(counts[0]?.length ?? 0)
  for (let i = 0; i < indices.length; i++) {
    const one = counts[indices[i] as number] as Float64Array
    for (let j = 0; j < total.length; j++) total[j] = (total[j] as number) + (one[j] as number)
  }
  return total
}

/** Classes by how often they are wanted, then by name. */
function classesOf(rows: readonly MeasuredRow[]): string[] {
  const counts = new Map<string, number>()
  for (const { wanted } of rows) counts.set(squeeze(wanted), (counts.get(squeeze(wanted)) ?? 0) + 1)
  return [...counts].sort(([a, many], [b, more]) => more - many || a.localeCompare(b)).map(([label]) => label)
}

function labelStatistics(
  rows: readonly MeasuredRow[],
  classes: readonly string[],
): Partial<Record<ScoreKey, Statistic>> {
  const truth = rows.map(({ wanted }) => classes.indexOf(squeeze(wanted)))
  const guesses = perSide(rows, (row, side) => classOf(row.answers?.[side] ?? '', classes))
  const score =
    (pick: (scores: LabelScores) => number): Statistic =>
    (side, indices) => {
      const [actual, guessed]: [number[], number[]] = [[], []]
      for (let i = 0; i < indices.length; i++) {
        actual.push(truth[indices[i] as number] as number)
        guessed.push(guesses(side)[indices[i] as number] as number)
      }
      return pick(labelScores(actual, guessed, classes))
    }
  return {
    accuracy: score((scores) => scores.accuracy),
    macroF1: score((scores) => scores.macroF1),
    macroPrecision: score((scores) => scores.macroPrecision),
    macroRecall: score((scores) => scores.macroRecall),
  }
}

function labelReport(rows: readonly MeasuredRow[], classes: readonly string[]): LabelReport {
  const truth = rows.map(({ wanted }) => classes.indexOf(squeeze(wanted)))
  const of = (side: Side) =>
    labelScores(
      truth,
      rows.map((row) => classOf(row.answers?.[side] ?? '', classes)),
      classes,
    )
  const [base, tuned] = [of('base'), of('tuned')]
  const pick = ({ precision, recall, f1 }: LabelScores['classes'][number]) => ({ precision, recall, f1 })
  return {
    classes: tuned.classes.map((one, i) => ({
      label: one.label,
      support: one.support,
      base: pick(base.classes[i] ?? one),
      tuned: pick(one),
    })),
    confusion: tuned.confusion,
  }
}

/** How good an answer is by itself, 0 to 1. */
function qualityOf(task: JudgedTask, answer: string, wanted: string): number {
  if (task === 'json') return fieldMatch(answer, wanted)
  if (task === 'labels') return classOf(answer, [wanted]) === 0 ? 1 : 0
  return exactMatch(answer, wanted) ? 1 : rougeL(answer, wanted)
}

/** The rows with the best and the worst answers; without answers, those that the tuning helped most and least. */
function ends(
  rows: readonly MeasuredRow[],
  task: JudgedTask,
  answered: boolean,
): { best: JudgedRow[]; worst: JudgedRow[] } {
  const judged = rows.filter((row) => !answered || row.answers).map((row) => judgedRow(row, task))
  const gain = ({ loss }: JudgedRow) => loss.base - loss.tuned
  const worth = ({ quality }: JudgedRow) => quality?.tuned ?? 0
  judged.sort((a, b) => worth(b) - worth(a) || gain(b) - gain(a) || a.index - b.index)
  const count = Math.min(READ, Math.ceil(judged.length / 2))
  return { best: judged.slice(0, count), worst: judged.slice(Math.max(count, judged.length - count)).reverse() }
}

function judgedRow({ index, prompt, wanted, loss, answers }: MeasuredRow, task: JudgedTask): JudgedRow {
  const cut = (text: string) => (text.length > TEXT ? `${text.slice(0, TEXT)}…` : text)
  const row: JudgedRow = { index, prompt: cut(prompt), wanted: cut(wanted), loss }
  if (!answers) return row
  const quality = (side: Side) => qualityOf(task, answers[side], wanted)
  return {
    ...row,
    answers: {
      base: cut(answers.base),
      tuned: cut(answers.tuned),
      ...(answers.shots === undefined ? {} : { shots: cut(answers.shots) }),
    },
    quality: { base: quality('base'), tuned: quality('tuned') },
  }
}

/** Whether an interval of a difference leaves out 0; +1 above, -1 below, 0 where it is not sure. */
export function sureSign({ low, high }: Interval): -1 | 0 | 1 {
  return low > 0 ? 1 : high < 0 ? -1 : 0
}
