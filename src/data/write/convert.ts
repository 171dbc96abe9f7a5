/** Examples back to rows of any format. Refuses what a format cannot say, instead of dropping it. */
import type { ChatMessage, Mapping } from '../../shared/records'
import { asSupervised, formatInfo, type TargetFormat } from '../../shared/roles'
import { mapRow } from '../formats/map'
import { badRow, valueAt } from '../formats/values'
import type { ChatExample, Example, RawRow } from '../types'

/** Formats whose rows hold more than one example to learn, or say less than a conversation: rows of these stay what they are. */
const OWN = ['label', 'preference', 'kto'] as const
type Own = (typeof OWN)[number]
const isOwn = (format: string): format is Own => (OWN as readonly string[]).includes(format)

/**
 * A row of one format as a row of another, with that format's own column names.
 * @throws CodedError `data.row` where the row cannot be used, or the format has no place for a part of it.
 */
export function convertRow(row: RawRow, mapping: Mapping, format: TargetFormat): RawRow {
  if (!isOwn(format)) return writeExample(mapRow(row, asSupervised(mapping)), format)
  if (mapping.format !== format) throw cannot(format, `its rows are ${mapping.format}`)
  const roles = Object.entries(mapping.columns).map(([role, column]) => [role, valueAt(row, column)] as const)
  const missing = roles.find(([, value]) => value === undefined || value === null)
  if (missing && formatInfo(format)?.roles.some((role) => role.required && role.name === missing[0])) {
    throw badRow(mapping.columns[missing[0]] ?? '', `The column "${mapping.columns[missing[0]]}" is missing.`)
  }
  return Object.fromEntries(roles.filter(([, value]) => value !== undefined))
}

/**
 * An example as a row of a format.
 * @throws CodedError `data.row` where the format has no place for a part of it.
 */
export function writeExample(example: Example, format: Exclude<TargetFormat, Own>): RawRow {
  if (example.kind === 'tokens' || format === 'tokens') {
    if (example.kind !== 'tokens' || format !== 'tokens') throw cannot(format, 'token ids and texts are not the same')
    return { input_ids: example.inputIds, labels: example.labels }
  }
  if (example.kind === 'text' || format === 'text') {
    if (example.kind !== 'text' || format !== 'text') throw cannot(format, 'running text has no prompt and no answer')
    return { text: example.text }
  }
  switch (format) {
    case 'pair':
      return toPair(example)
    case 'alpaca':
      return toAlpaca(turnsOf(example))
    case 'chat':
      return toChat(example)
    case 'sharegpt':
      return toShareGpt(example)
  }
}

type Spoken = Exclude<Example, { kind: 'tokens' } | { kind: 'text' }>

function turnsOf(example: Spoken): ChatMessage[] {
  if (example.kind === 'chat') {
    refuseParts(example, 'a single answer')
    return example.messages
  }
  const asked = { role: 'user', content: example.prompt }
  return example.chat ?? [asked, { role: 'assistant', content: example.completion }]
}

function toPair(example: Spoken): RawRow {
  if (example.kind === 'pair') return { prompt: example.prompt, completion: example.completion }
  if (example.tools || example.unlearnt) throw cannot('pair', 'a pair has no place for tools or unlearnt answers')
  const from = example.trainFrom ?? example.messages.length - 1
  const rest = example.messages.slice(0, from)
  if (example.trainFrom === undefined && rest.some((message) => message.role === 'assistant')) {
    throw cannot('pair', 'a pair learns one answer, and the chat has several')
  }
  return { prompt: rest, completion: example.messages.slice(from) }
}

function toAlpaca(messages: readonly ChatMessage[]): RawRow {
  const [first, ...others] = messages
  const system = first?.role === 'system' ? first.content : ''
  const turns = system === '' ? messages : others
  if (
    turns.length % 2 ||
    turns.some((turn, i) => turn.role !== (i % 2 ? 'assistant' : 'user') || turn.tool_calls?.length)
  ) {
    throw cannot('alpaca', 'its turns are not questions and answers by turns')
  }
  const texts = turns.map((turn) => turn.content)
  const history = Array.from({ length: texts.length / 2 - 1 }, (_, i) => texts.slice(2 * i, 2 * i + 2))
  return {
    instruction: texts.at(-2),
    input: '',
    output: texts.at(-1),
    ...(system === '' ? {} : { system }),
    ...(history.length === 0 ? {} : { history }),
  }
}

function toChat(example: Spoken): RawRow {
  if (example.kind === 'pair') return { messages: turnsOf(example) }
  const messages = example.messages.map((message, i) => {
    const untaught = message.role === 'assistant' && (i < (example.trainFrom ?? 0) || example.unlearnt?.includes(i))
    return untaught ? { ...message, weight: 0 } : message
  })
  return { messages, ...(example.tools ? { tools: example.tools } : {}) }
}

function toShareGpt(example: Spoken): RawRow {
  const turns = example.kind === 'pair' ? turnsOf(example) : example.messages
  if (example.kind === 'chat' && (example.trainFrom || example.unlearnt)) {
    throw cannot('sharegpt', 'every answer is learnt there')
  }
  const conversations = turns.flatMap((turn) => shareGptTurns(turn))
  const tools = example.kind === 'chat' ? example.tools : undefined
  return { conversations, ...(tools ? { tools: JSON.stringify(tools) } : {}) }
}

const FROM: Record<string, string> = { user: 'human', assistant: 'gpt', system: 'system', tool: 'observation' }

function shareGptTurns(turn: ChatMessage): { from: string; value: string }[] {
  if (!turn.tool_calls?.length) return [{ from: FROM[turn.role] ?? turn.role, value: turn.content }]
  if (turn.content.trim() !== '') throw cannot('sharegpt', 'a turn there is either words or a call')
  const calls = turn.tool_calls.map((call) => (call as { function?: unknown }).function ?? call)
  return [{ from: 'function_call', value: JSON.stringify(calls.length === 1 ? calls[0] : calls) }]
}

function refuseParts(example: ChatExample, what: string): void {
  const answers = example.messages.filter((message) => message.role === 'assistant').length
  const last = example.trainFrom === example.messages.length - 1
  if (example.tools || example.unlearnt || (answers > 1 && !last)) {
    throw cannot('alpaca', `only ${what} is learnt there, without tools`)
  }
}

function cannot(format: string, why: string): Error {
  return badRow('', `The row cannot be written as ${format}: ${why}.`)
}
