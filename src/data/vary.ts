/**
 * Variations of a row: what a model is asked for one, and what its text makes of the row. Refuses to run a model, and to vary rows
 * whose texts it could not put back.
 *
 * A model is shown other rows of the dataset as examples and goes on from there, so that models without instruction tuning can be
 * asked, too. A prompt is found from its answer, backwards (Li et al. 2023, instruction backtranslation); an answer from its prompt,
 * as in training; a whole row after other rows.
 */
import type { Tokenizer } from '../engine/tokenizer'
import type { ChatTemplate } from '../engine/tokenizer/chat-template'
import { CodedError } from '../shared/errors'
import type { RowSides as Sides, VariationKind } from '../shared/protocol'
import type { Mapping } from '../shared/records'
import { seededIntegers } from './batch/random'
import { encodeExample, IGNORED } from './encode/encode'
import { withShots } from './encode/shots'
import { mapRow } from './formats/map'
import { isShareGptTurn, isTurn, readTurns } from './formats/turns'
import { listOf, textOf, valueAt } from './formats/values'
import type { Example, PairExample, RawRow } from './types'

/** Where a text stands in a row, and how another is put there. */
interface Slot {
  text: string
  put(row: RawRow, text: string): RawRow
}
interface Slots {
  prompt: Slot | null
  answer: Slot
  /** Whether turns come before the last question. */
  later: boolean
}

/** Tokens that every variation may have, and the most that one may. */
const SHORT = 64
const MOST_NEW = 512

/** The texts of a row. @throws CodedError `data.row` where the row cannot be used or varied. */
export function sidesOf(row: RawRow, mapping: Mapping): Sides {
  const { prompt, answer } = slotsOf(row, mapping)
  return { prompt: prompt && prompt.text, answer: answer.text }
}

/** The row with other texts. @throws CodedError `data.row` */
export function withSides(row: RawRow, mapping: Mapping, sides: Sides): RawRow {
  const { prompt, answer } = slotsOf(row, mapping)
  const asked = prompt && sides.prompt !== null ? prompt.put(row, sides.prompt) : row
  // The slot of the answer is looked up anew: both may stand in one list of turns.
  return prompt ? slotsOf(asked, mapping).answer.put(asked, sides.answer) : answer.put(asked, sides.answer)
}

function slotsOf(row: RawRow, mapping: Mapping): Slots {
  // What training could not use is no pattern for more.
  mapRow(row, mapping)
  const { columns, format } = mapping
  const plain = (prompt: Slot | null, answer: string | undefined): Slots => ({
    prompt,
    answer: columnSlot(row, answer),
    later: false,
  })
  switch (format) {
    case 'text':
      return plain(null, columns.text)
    case 'label':
      return plain(columnSlot(row, columns.text), columns.label)
    case 'alpaca':
      return { ...plain(instructionSlot(row, columns), columns.output), later: hasHistory(row, columns.history) }
    case 'pair':
      if (listOf(valueAt(row, columns.prompt ?? ''))?.some(isTurn))
        return turnSlots(row, columns.prompt, columns.completion)
      return plain(columnSlot(row, columns.prompt), columns.completion)
    case 'chat':
      return turnSlots(row, columns.messages, columns.answer)
    case 'sharegpt':
      return turnSlots(row, columns.conversations, columns.answer)
    default:
      throw cannot('Rows of this kind cannot be varied.')
  }
}

function columnSlot(row: RawRow, column: string | undefined): Slot {
  if (column === undefined || !Object.hasOwn(row, column))
    throw cannot('Its text lies inside another value and cannot be put back there.')
  const value = row[column]
  if (typeof value === 'object' && value !== null) throw cannot(`The column "${column}" holds no text.`)
  return { text: textOf(value), put: (before, text) => ({ ...before, [column]: text }) }
}

/** Instruction and input are one prompt; a new one stands in the instruction alone, which reads the same to the model. */
function instructionSlot(row: RawRow, { instruction, input }: Mapping['columns']): Slot {
  const slot = columnSlot(row, instruction)
  const given = input === undefined ? '' : textOf(valueAt(row, input))
  if (input === undefined || given === '') return slot
  return { text: `${slot.text}\n${given}`, put: (before, text) => ({ ...slot.put(before, text), [input]: '' }) }
}

function hasHistory(row: RawRow, column: string | undefined): boolean {
  return column !== undefined && (listOf(valueAt(row, column))?.length ?? 0) > 0
}

/** The last question and the last answer among the turns of a column, or the answer in a column of its own. */
function turnSlots(row: RawRow, column: string | undefined, answerColumn: string | undefined): Slots {
  if (column === undefined || !Object.hasOwn(row, column)) throw cannot('Its turns cannot be put back.')
  const { messages } = readTurns(row, column)
  const answered = answerColumn === undefined ? messages.findLastIndex(({ role }) => role === 'assistant') : -1
  const asked = messages.slice(0, answered < 0 ? undefined : answered).findLastIndex(({ role }) => role === 'user')
  if (asked < 0 || (answered < 0 && answerColumn === undefined)) throw cannot('It has no question with an answer.')
  return {
    prompt: turnSlot(row, column, asked),
    answer: answered < 0 ? columnSlot(row, answerColumn) : turnSlot(row, column, answered),
    later: messages.slice(0, asked).some(({ role }) => role !== 'system'),
  }
}

function turnSlot(row: RawRow, column: string, at: number): Slot {
  const turn = listOf(row[column])?.[at]
  const key = isShareGptTurn(turn) && !('role' in (turn as object)) ? 'value' : 'content'
  const text = isTurn(turn) ? turn[key] : undefined
  if (typeof text !== 'string' || text.trim() === '') throw cannot('Its last turn is not a plain text.')
  return {
    text,
    put(before, wanted) {
      const turns = (listOf(before[column]) as Record<string, unknown>[]).map((each, i) =>
        i === at ? { ...each, [key]: wanted } : each,
      )
      return { ...before, [column]: typeof before[column] === 'string' ? JSON.stringify(turns) : turns }
    },
  }
}

function cannot(what: string): CodedError {
  return new CodedError('data.row', `This row cannot be varied. ${what}`, {
    fix: 'Write a new row by hand instead, or vary another one.',
  })
}

/** Words before the two sides of an example. */
function headsOf(mapping: Mapping): { prompt: string; answer: string } {
  return mapping.format === 'label' ? { prompt: 'Text', answer: 'Class' } : { prompt: 'Prompt', answer: 'Answer' }
}

/** What is asked for, as an example whose answer is the variation. */
function asked(kind: Exclude<VariationKind, 'answer'>, { prompt, answer }: Sides, mapping: Mapping): PairExample {
  const heads = headsOf(mapping)
  const said = (request: string, reply: string) => [
    { role: 'user', content: request },
    { role: 'assistant', content: reply },
  ]
  if (prompt === null)
    return { kind: 'pair', prompt: 'Text:', completion: ` ${answer}`, chat: said('Write another text.', answer) }
  if (kind === 'both') {
    const whole = `${heads.prompt}: ${prompt}\n${heads.answer}: ${answer}`
    return {
      kind: 'pair',
      prompt: `${heads.prompt}:`,
      completion: whole.slice(heads.prompt.length + 1),
      chat: said('Write another example.', whole),
    }
  }
  const request = `Write the ${heads.prompt.toLowerCase()} that this ${heads.answer.toLowerCase()} belongs to.`
  return {
    kind: 'pair',
    prompt: `${heads.answer}: ${answer}\n${heads.prompt}:`,
    completion: ` ${prompt}`,
    chat: said(`${request}\n\n${heads.answer}: ${answer}`, prompt),
  }
}

/** What a model is asked. */
interface VariationPrompt {
  ids: number[]
  maxNewTokens: number
  stop: string[]
}

interface VariationSetting {
  kind: VariationKind
  mapping: Mapping
  /** Other rows, shown before. */
  examples: readonly RawRow[]
  tokenizer: Tokenizer
  template: ChatTemplate
  /** Tokens that the model can hold. */
  context: number
}

/**
 * The tokens that a variation of a row is asked with; examples are left out until they fit.
 * @throws CodedError `data.row` where the row cannot be varied, or is too long for the model.
 */
export function variationPrompt(row: RawRow, setting: VariationSetting): VariationPrompt {
  const { kind, mapping, examples, tokenizer, template, context } = setting
  const slots = slotsOf(row, mapping)
  if (kind === 'both' && slots.later) throw cannot('It goes on from earlier turns: vary its question or its answer.')
  const own = sidesOf(row, mapping)
  const shape = (sides: Sides, raw: RawRow): Example => (kind === 'answer' ? mapRow(raw, mapping) : asked(kind, sides, mapping)) // prettier-ignore
  // A whole row comes after this one; for one side of it this row is the question.
  const shown = kind === 'both' ? [...examples, row] : [...examples]
  const varied =
    kind === 'prompt' ? (own.prompt ?? '') : kind === 'answer' ? own.answer : `${own.prompt}\n${own.answer}`
  const maxNewTokens = Math.min(MOST_NEW, SHORT + 2 * tokenizer.encode(varied).length)
  const stop = kind === 'answer' ? stopOf(shown, mapping) : [`\n\n${headsOf(mapping)[kind === 'both' ? 'prompt' : 'answer']}:`, '\n\nText:'] // prettier-ignore
  for (; ; shown.shift()) {
    const shots = shown.map((other) => shape(sidesOf(other, mapping), other))
    const encoded = encodeExample(withShots(shots, shape(own, row)), tokenizer, template, {
      maxLength: Infinity,
      trainOn: 'completion',
    })
    if (encoded.problem !== undefined) throw cannot(encoded.problem)
    const ids = [...encoded.inputIds.subarray(0, answerStart(encoded.labels))]
    if (ids.length + Math.min(maxNewTokens, SHORT) <= context) return { ids, maxNewTokens, stop }
    if (shown.length === 0) throw cannot('It is too long for this model.')
  }
}

/** Where the last answer begins. */
function answerStart(labels: Int32Array): number {
  let at = labels.findLastIndex((label) => label !== IGNORED)
  while (at > 0 && labels[at - 1] !== IGNORED) at--
  return at
}

/** Examples written as text have an empty line between them, unless one has such a line itself. */
function stopOf(examples: readonly RawRow[], mapping: Mapping): string[] {
  if (examples.length === 0 || mapping.format === 'chat' || mapping.format === 'sharegpt') return []
  return examples.some((row) => sidesOf(row, mapping).answer.includes('\n\n')) ? [] : ['\n\n']
}

/** A few other rows that can be shown as examples: short ones of those drawn. */
export async function drawExamples(
  rows: { count: number; pick(positions: readonly number[]): Promise<RawRow[]> },
  position: number,
  mapping: Mapping,
  seed: number,
  count = 4,
): Promise<RawRow[]> {
  const below = seededIntegers(seed)
  const drawn = new Set(Array.from({ length: 4 * count }, () => below(Math.max(1, rows.count))))
  drawn.delete(position)
  const picked = await rows.pick([...drawn].filter((at) => at < rows.count))
  const usable = picked.flatMap((row) => {
    try {
      const { prompt, answer } = sidesOf(row, mapping)
      return [{ row, length: (prompt ?? '').length + answer.length }]
    } catch {
      // A row that cannot be used is no example.
      return []
    }
  })
  const short = usable.filter(({ length }) => length <= 1200)
  return (short.length > 0 ? short : usable.slice(0, 1)).slice(0, count).map(({ row }) => row)
}

/** What a model's text makes of a row, or why it makes nothing. */
export function readVariation(
  kind: VariationKind,
  own: Sides,
  text: string,
  mapping: Mapping,
): Sides | { refused: string } {
  const said = text.trim()
  if (said === '') return { refused: 'empty' }
  if (own.prompt === null) return { prompt: null, answer: withoutHead(said, 'Text') }
  const heads = headsOf(mapping)
  if (kind === 'prompt') return { prompt: withoutHead(said, heads.prompt), answer: own.answer }
  if (kind === 'answer') return { prompt: own.prompt, answer: said }
  const both = withoutHead(said, heads.prompt)
  const at = both.indexOf(`\n${heads.answer}:`)
  const prompt = both.slice(0, Math.max(0, at)).trim()
  const answer = both.slice(at + heads.answer.length + 2).trim()
  if (at < 0 || prompt === '' || answer === '') return { refused: 'without a prompt and its answer' }
  return { prompt, answer }
}

function withoutHead(text: string, head: string): string {
  return text.startsWith(`${head}:`) ? text.slice(head.length + 1).trim() : text
}

/** Two rows with the same key say the same, whatever their white space and case. */
export function sameKey({ prompt, answer }: Sides): string {
  return [prompt ?? '', answer].map((text) => text.toLowerCase().replace(/\s+/g, ' ').trim()).join('\u0000')
}
