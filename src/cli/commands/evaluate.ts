/**
 * `finetab evaluate`: the loss of each row under the same conventions as training, and with an adapter how base and tuned model do side
 * by side. Refuses to train.
 */
import { evaluate as measure, totalOf, type Trainable, type Evaluation, type Model, type RowResult } from '../../engine'
import { scoreText, SCORES, forgettingVerdict, judgementVerdict } from '../../insight/verdict'
import { judge, judgeRows, type ChosenRows } from '../../judge'
import { CodedError } from '../../shared/errors'
import type { Job } from '../../shared/job'
import { completeJob } from '../../shared/job'
import type { Judgement, LabelReport, Score } from '../../shared/judgement'
import type { Mapping } from '../../shared/records'
import type { CommandContext } from '../context'
import { readExamples, reportSkipped } from '../dataset'
import { requireFlags } from '../flags'
import { openModelFolder } from '../model-folder'
import { formatNumber, tableRow } from '../output'
import { loadAdapterFolder, loadModelFolder, openBackend, quantizationFor } from '../runtime'

const COLUMNS = [
  { title: 'row', width: 6 },
  { title: 'loss', width: 8 },
  { title: 'tokens', width: 7 },
  { title: 'right', width: 6 },
]
const BASE_COLUMN = { title: 'base loss', width: 9 }
const SCORE_COLUMNS = [
  { title: 'score', width: 16 },
  { title: 'base', width: 9 },
  { title: 'tuned', width: 9 },
  { title: 'from', width: 9 },
  { title: 'to', width: 9 },
  { title: 'examples', width: 9 },
]
const ANSWERS = 32

/** Runs the command; the exit code. */
export async function evaluate(context: CommandContext): Promise<number> {
  const { options, given, output, interrupt } = context
  requireFlags('evaluate', new Set(Object.keys(given)))
  checkPattern(options.pattern)
  const folder = await openModelFolder(String(given.model))
  const data = await readExamples(String(given.data), output, interrupt.signal)
  await openBackend(completeJob(given), context)
  const model = await loadModelFolder(folder, context, await quantizationFor(context))
  const adapter = await loadAdapterFolder(model, options.adapter)
  // Nothing is cut off that the model can read.
  const job = completeJob({ maxLength: model.record.context, ...given })
  const source = { open: () => data.rows, mapping: data.mapping, name: job.data, total: data.rows.length }
  const choice = {
    heldBack: options['held-back'] ?? false,
    limit: Infinity,
    shots: options.shots ?? 0,
    classes: adapter?.classes,
  }
  const chosen = await judgeRows(source, model, job, choice, interrupt.signal)
  reportSkipped(job.data, chosen.skipped, output)
  if (chosen.truncatedRows > 0) output.warn(`${chosen.truncatedRows} rows were cut at ${job.maxLength} tokens.`)
  if (adapter) await beside(model, adapter, chosen, data.mapping, job, context)
  else await alone(model, chosen, context)
  return 0
}

/** The losses of one model. */
async function alone(model: Model, chosen: ChosenRows, { output, interrupt }: CommandContext): Promise<void> {
  head([...COLUMNS], output)
  const rows = chosen.rows.map((row) => row.encoded)
  const total = await measure(model, null, rows, (row) => {
    interrupt.signal.throwIfAborted()
    output.event('row', rowEvent(row))
    output.result(`${tableRow([row.index + 1, row.loss, row.tokens, row.correct], COLUMNS)}\n`)
  })
  tellTotal(total, output)
}

/** Base and tuned model over the same rows. */
async function beside(
  model: Model,
  adapter: Trainable,
  chosen: ChosenRows,
  mapping: Mapping,
  job: Job,
  { output, options, interrupt }: CommandContext,
): Promise<void> {
  const columns = [...COLUMNS, BASE_COLUMN]
  head(columns, output)
  const tunedRows: RowResult[] = []
  const judged = await judge({
    model,
    adapter,
    rows: chosen.rows,
    format: mapping.format,
    answers: options.answers ?? ANSWERS,
    pattern: options.pattern ?? '',
    probe: !options['no-probe'],
    turn: async (work) => {
      await interrupt.breathe()
      return work()
    },
    onProgress: (progress) => output.progress(progress),
    signal: interrupt.signal,
    onRow: (base, tuned) => {
      tunedRows.push(tuned)
      output.event('row', { ...rowEvent(tuned), base_loss: base.loss, base_correct: base.correct })
      output.result(`${tableRow([tuned.index + 1, tuned.loss, tuned.tokens, tuned.correct, base.loss], columns)}\n`)
    },
  })
  output.endBar()
  const rows = chosen.heldBack ? ('held back' as const) : ('another dataset' as const)
  const judgement: Judgement = {
    ...{ version: 1, at: 0, checkpoint: 'best', step: 0, dataset: job.data, rows, shots: options.shots ?? 0 },
    ...judged,
  }
  tellTotal(totalOf(tunedRows), output)
  tellScores(judgement, job, output)
}

function tellTotal(
  { loss, perplexity, tokenAccuracy, tokens, rows }: Evaluation,
  output: CommandContext['output'],
): void {
  output.event('total', { loss, perplexity, token_accuracy: tokenAccuracy, tokens, rows: rows.length })
  output.result(
    `\nLoss ${formatNumber(loss)} · perplexity ${formatNumber(perplexity)} · ` +
      `${(100 * tokenAccuracy).toFixed(1)} % of ${tokens} tokens right · ${rows.length} rows\n`,
  )
}

function tellScores(judgement: Judgement, job: Job, output: CommandContext['output']): void {
  const { scores, labels, forgetting, task, lead, measured, answered } = judgement
  const verdict = judgementVerdict(judgement, job)
  const kept = forgetting && forgettingVerdict(forgetting, job)
  output.event('scores', { task, lead, measured, answered, scores, verdict: verdict.text })
  if (labels) output.event('labels', { ...labels })
  for (const [end, rows] of Object.entries({ best: judgement.best, worst: judgement.worst }))
    for (const row of rows) output.event('example', { end, ...row })
  if (forgetting && kept) output.event('forgetting', { ...forgetting, verdict: kept.text })
  output.result(`\n${verdict.text}${verdict.advice ? `\n${verdict.advice}` : ''}\n`)
  if (kept) output.result(`${kept.text}${kept.advice ? `\n${kept.advice}` : ''}\n`)
  output.result(`\nScores; for the tuned model with their 95% intervals:\n`)
  head([...SCORE_COLUMNS], output)
  for (const score of scores) output.result(`${tableRow(scoreCells(score), SCORE_COLUMNS)}\n`)
  if (labels) tellLabels(labels, output)
}

function scoreCells({ key, base, tuned, shots }: Score): string[] {
  const text = (value: number) => scoreText(key, value)
  const values = [base.value, tuned.value, tuned.low, tuned.high].map(text)
  return [SCORES[key].label, ...values, shots ? text(shots.value) : '']
}

function tellLabels({ classes, confusion }: LabelReport, output: CommandContext['output']): void {
  const width = Math.max(8, ...classes.map(({ label }) => label.length))
  const columns = ['class', 'rows', 'F1', 'base F1'].map((title, i) => ({ title, width: i === 0 ? width : 8 }))
  output.result('\n')
  head(columns, output)
  for (const { label, support, tuned, base } of classes)
    output.result(`${tableRow([label, support, tuned.f1, base.f1], columns)}\n`)
  const names = [...classes.map(({ label }) => label), 'no class']
  const table = ['wanted \\ named', ...names].map((title) => ({ title, width: Math.max(6, title.length) }))
  output.result('\n')
  head(table, output)
  confusion.forEach((row, i) => output.result(`${tableRow([names[i] ?? '', ...row], table)}\n`))
}

function head(columns: { title: string; width: number }[], output: CommandContext['output']): void {
  const titles = columns.map(({ title }) => title)
  output.result(`${tableRow(titles, columns)}\n`)
}

function rowEvent({ index, loss, tokens, correct }: RowResult): Record<string, unknown> {
  return { index, loss, tokens, correct }
}

function checkPattern(pattern: string | undefined): void {
  try {
    new RegExp(pattern ?? '', 'u')
  } catch (error) {
    throw new CodedError('usage', `The pattern is no regular expression: ${(error as Error).message}`, {
      where: `--pattern ${pattern ?? ''}`,
      fix: 'Write it as JavaScript does, without slashes.',
      cause: error,
    })
  }
}
