/**
 * Base beside tuned on the same rows: losses, greedy answers, general text; one piece of device work at a time, so that others get
 * their turn. Refuses to know where runs are kept.
 */
import { classify, evaluate, generate, type Trainable, type Model, type RowResult } from '../engine'
import { scoreRows, taskOf, type MeasuredRow, type Scored } from '../insight/score'
import type { OnProgress } from '../shared/files'
import type { Forgetting, JudgedTask } from '../shared/judgement'
import type { EncodedRow, RowFormat } from '../shared/records'
import { measureForgetting } from './forgetting'
import type { JudgeRow } from './rows'
import type { Turn } from './turn'

export interface JudgeInput {
  model: Model
  adapter: Trainable
  rows: readonly JudgeRow[]
  format: RowFormat
  /** Most rows that both models answer; 0 for losses alone. */
  answers: number
  /** A regular expression that good answers match; empty for none. */
  pattern: string
  /** Whether general text is measured too. */
  probe: boolean
  turn: Turn
  onProgress?: OnProgress
  /** Ends the work with an AbortError between two pieces. */
  signal?: AbortSignal
  /** Each row's losses as soon as both are known. */
  onRow?: (base: RowResult, tuned: RowResult) => void
}

export interface Judged extends Scored {
  task: JudgedTask
  measured: number
  answered: number
  forgetting: Forgetting | null
}

/** Rows whose losses are measured in one turn. */
const STRIDE = 16
/** An answer may be this many times as long as what was wanted, and so many tokens more. */
const LONGER = 1.5
const MORE = 8
const MOST_TOKENS = 384
/** Classes are short, so that more rows can be answered. */
const LABEL_ANSWERS = 4

/** Everything that judging measures. @throws AbortError; CodedError `device.*`. */
export async function judge(input: JudgeInput): Promise<Judged> {
  const { rows, model, adapter } = input
  const task = taskOf(
    input.format,
    rows.filter((row) => row.ask).map((row) => row.wanted),
  )
  const measured = await measureLosses(input)
  const most = task === 'labels' ? input.answers * LABEL_ANSWERS : input.answers
  const asked = task === 'text' ? [] : rows.filter((row) => row.ask).slice(0, most)
  await answerAll(input, asked, measured)
  const forgetting = input.probe
    ? await measureForgetting(model, adapter.body ?? adapter, input.turn, input.onProgress, input.signal)
    : null
  return {
    task,
    measured: measured.size,
    answered: asked.length,
    ...scoreRows([...measured.values()], task, input.pattern),
    forgetting,
  }
}

async function measureLosses({
  model,
  adapter,
  rows,
  turn,
  onProgress,
  signal,
  onRow,
}: JudgeInput): Promise<Map<number, MeasuredRow>> {
  const measured = new Map<number, MeasuredRow>()
  for (let from = 0; from < rows.length; from += STRIDE) {
    signal?.throwIfAborted()
    const part = rows.slice(from, from + STRIDE)
    const encoded = part.map((row): EncodedRow => row.encoded)
    const base = adapter.classes
      ? undecided(encoded, adapter.classes)
      : await turn(() => evaluate(model, null, encoded))
    const tuned = await turn(() => evaluate(model, adapter, encoded))
    part.forEach((row, i) => {
      const [before, after] = [base.rows[i], tuned.rows[i]]
      if (!before || !after || before.tokens === 0) return
      onRow?.(before, after)
      measured.set(row.encoded.index, {
        index: row.encoded.index,
        prompt: row.prompt,
        wanted: row.wanted,
        tokens: before.tokens,
        loss: { base: before.loss, tuned: after.loss },
        correct: { base: before.correct, tuned: after.correct },
      })
    })
    onProgress?.({
      stage: 'Measuring losses',
      done: Math.min(rows.length, from + STRIDE),
      total: rows.length,
      unit: 'rows',
    })
  }
  return measured
}

async function answerAll(
  input: JudgeInput,
  rows: readonly JudgeRow[],
  measured: Map<number, MeasuredRow>,
): Promise<void> {
  const { onProgress, adapter } = input
  for (const [done, row] of rows.entries()) {
    onProgress?.({ stage: 'Letting both answer', done, total: rows.length, unit: 'rows' })
    const known = measured.get(row.encoded.index)
    if (!known || !row.ask) continue
    const tuned = adapter.classes ? await named(input, row.encoded) : await answerWith(input, row, row.ask, adapter)
    known.answers = { base: await answerWith(input, row, row.ask, null), tuned }
    if (row.askWithShots) known.answers.shots = await answerWith(input, row, row.askWithShots, null)
  }
  onProgress?.({ stage: 'Letting both answer', done: rows.length, total: rows.length, unit: 'rows' })
}

/** What a head says of rows before it has learnt anything: all classes alike. */
function undecided(rows: readonly EncodedRow[], classes: readonly string[]): { rows: RowResult[] } {
  const loss = Math.log(classes.length)
  return { rows: rows.map(({ index, labels }) => ({ index, loss, tokens: 1, correct: labels.at(-1) === 0 ? 1 : 0 })) }
}

/** The class that a head finds likeliest. */
async function named({ model, adapter, turn }: JudgeInput, { inputIds }: EncodedRow): Promise<string> {
  const [first] = await turn(() => classify(model, adapter, [...inputIds.subarray(0, inputIds.length - 1)]))
  return first?.name ?? ''
}

/** The likeliest answer to a row, asked with these tokens; about as long as what is wanted. @throws AbortError */
export async function answerWith(
  input: Pick<JudgeInput, 'model' | 'turn' | 'signal'>,
  row: JudgeRow,
  ids: readonly number[],
  by: Trainable | null,
): Promise<string> {
  const text = await answer(input, ids, by, Math.min(MOST_TOKENS, Math.ceil(LONGER * row.wantedTokens) + MORE))
  input.signal?.throwIfAborted()
  // Plain text goes on with another example after an empty line; that is not its answer any more.
  const whole = ids !== row.askWithShots || row.wanted.includes('\n\n')
  return whole ? text : (text.trimStart().split('\n\n')[0] ?? '')
}

/** The likeliest answer, token by token. */
async function answer(
  { model, turn, signal }: Pick<JudgeInput, 'model' | 'turn' | 'signal'>,
  ids: readonly number[],
  adapter: Trainable | null,
  length: number,
): Promise<string> {
  if (ids.length >= model.network.positions) return ''
  const greedy = { maxNewTokens: length, temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1, stop: [], seed: 1 }
  const tokens = generate(model, adapter, ids, greedy, signal)
  for (;;) {
    const next = await turn(() => tokens.next())
    if (next.done) return next.value.text
  }
}
