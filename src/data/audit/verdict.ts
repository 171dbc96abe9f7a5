/** An audit in one sentence: how many good rows, is it enough, what to mend first. Refuses to name more than one fault. */
import type { AuditReport, FindingKind } from './types'

/** Faults, worst first, with the share of rows above which they are named. */
const FAULTS: readonly [FindingKind, number, one: string, many: string][] = [
  ['unusable', 0.02, 'row cannot be used', 'rows cannot be used'],
  ['no-trained-tokens', 0.02, 'row has nothing to learn', 'rows have nothing to learn'],
  ['conflict', 0.01, 'row contradicts another with the same prompt', 'rows contradict another with the same prompt'],
  ['leak', 0.02, 'validation row is also trained on', 'validation rows are also trained on'],
  ['missing-end', 0.02, 'row ends without an end token', 'rows end without an end token'],
  ['truncated', 0.05, 'row loses its end to the maximum length', 'rows lose their end to the maximum length'],
  ['placeholder', 0.01, 'answer holds a placeholder', 'answers hold placeholders'],
  ['personal', 0, 'row holds personal data', 'rows hold personal data'],
  ['exact-duplicate', 0.02, 'row repeats another', 'rows repeat another'],
  ['near-duplicate', 0.05, 'row nearly repeats another', 'rows nearly repeat another'],
  [
    'unknown-characters',
    0.05,
    'row has characters that the tokenizer cannot carry',
    'rows have characters that the tokenizer cannot carry',
  ],
  ['refusal', 0.05, 'answer declines to answer', 'answers decline to answer'],
  ['licence', 0.01, 'row carries a licence note', 'rows carry licence notes'],
  ['boilerplate', 0.3, 'answer has a stock phrase', 'answers share stock phrases'],
]

type Counted = Omit<AuditReport, 'verdict' | 'tone'>

/** The sentence and its tone. The numbers: 500 to 2,000 good rows suffice for most tasks. */
export function verdictOf(report: Counted): Pick<AuditReport, 'verdict' | 'tone'> {
  const { rows, goodRows } = report
  const number = (value: number) => value.toLocaleString('en')
  if (goodRows === 0) return { verdict: 'No row is fit for training: check the format and its columns.', tone: 'poor' }
  const fault = FAULTS.find(([kind, share]) => report.counts[kind] > share * rows)
  const count = fault ? report.counts[fault[0]] : 0
  const mend = fault ? `${number(count)} ${count === 1 ? fault[2] : fault[3]}` : unevenClasses(report)
  const all = rows === 1 ? '1 good row' : `${number(rows)} good rows`
  const good = goodRows === rows ? all : `${number(goodRows)} of ${number(rows)} rows are good`
  const enough =
    goodRows < 50
      ? 'enough for a name or a manner at most'
      : goodRows < 500
        ? 'enough for a style or a narrow task'
        : 'enough for most tasks'
  const tone = goodRows < 10 || goodRows < rows / 2 ? 'poor' : mend || goodRows < 500 ? 'fair' : 'good'
  return { verdict: `${good}: ${enough}.${mend ? ` Mend first: ${mend}.` : ''}`, tone }
}

function unevenClasses({ classes }: Counted): string | undefined {
  const counts = Object.entries(classes ?? {}).sort((a, b) => b[1] - a[1])
  const [most, least] = [counts[0], counts.at(-1)]
  if (!most || !least || counts.length < 2 || most[1] < 10 * least[1]) return undefined
  return `"${most[0]}" has ${most[1]} rows and "${least[0]}" only ${least[1]}`
}
