/**
 * What prompting does instead of tuning: the base answers rows with and without examples in its prompt, before anything is trained.
 * Refuses running text, which asks nothing.
 */
import { evaluate } from '../engine'
import { scoreRows, taskOf, type MeasuredRow } from '../insight/score'
import { CodedError } from '../shared/errors'
import type { PromptingTrial } from '../shared/judgement'
import type { RowFormat } from '../shared/records'
import { answerWith, type JudgeInput } from './judge'
import type { JudgeRow } from './rows'

export interface PromptingInput extends Pick<JudgeInput, 'model' | 'turn' | 'onProgress' | 'signal'> {
  rows: readonly JudgeRow[]
  format: RowFormat
  shots: number
}

/** Rows that are shown to be read. */
const SHOWN = 6

/** @throws AbortError; CodedError `data.empty` where no row asks anything. */
export async function tryPrompting(input: PromptingInput): Promise<PromptingTrial> {
  const { rows, format, shots, model, turn, onProgress, signal } = input
  const asked = rows.filter((row) => row.ask && row.askWithShots)
  const wanted = asked.map((row) => row.wanted)
  const task = taskOf(format, wanted)
  if (asked.length === 0 || task === 'text')
    throw new CodedError('data.empty', 'These rows ask nothing that examples in a prompt could show.', {
      fix: 'Prompting is for questions and tasks; running text is learnt by training.',
    })
  const measured: MeasuredRow[] = []
  for (const [done, row] of asked.entries()) {
    onProgress?.({ stage: 'Letting the base answer', done, total: asked.length, unit: 'rows' })
    signal?.throwIfAborted()
    const loss = (await turn(() => evaluate(model, null, [row.encoded]))).rows[0]
    const base = await answerWith(input, row, row.ask ?? [], null)
    const tuned = await answerWith(input, row, row.askWithShots ?? [], null)
    measured.push({
      ...{ index: row.encoded.index, prompt: row.prompt, wanted: row.wanted, tokens: loss?.tokens ?? 1 },
      loss: { base: loss?.loss ?? 0, tuned: loss?.loss ?? 0 },
      correct: { base: 0, tuned: 0 },
      answers: { base, tuned },
    })
  }
  const { lead, scores } = scoreRows(measured, task)
  const score = scores.find(({ key }) => key === lead) ?? scores.at(-1)
  if (!score) throw new CodedError('data.empty', 'Nothing could be measured.')
  const shown = measured.slice(0, SHOWN).map(({ prompt, wanted: right, answers }) => ({
    ...{ prompt, wanted: right, without: answers?.base ?? '', withExamples: answers?.tuned ?? '' },
  }))
  const { key, base, tuned, difference } = score
  return { shots, answered: measured.length, key, without: base, withExamples: tuned, difference, rows: shown }
}
