/**
 * Raw rows to examples by a mapping: which column is the prompt, which the answer. Refuses to fill in what is missing.
 *
 * The exact strings, so that any other tool can build the same rows:
 * - pair: prompt and completion as they stand, joined without anything between them.
 * - alpaca: prompt = instruction, then "\n" + input where there is an input; completion = output. Earlier turns and a system
 *   message come before the prompt, each followed by "\n". This is LLaMA-Factory's `empty` template. A model with a chat
 *   template of its own gets the same row as turns instead.
 * - label: prompt = text + "\n", completion = label. As turns for a model with a chat template of its own.
 * - a system prompt added by the mapping comes before the prompt, followed by "\n"; in chats it is a system turn.
 */
import type { ChatMessage, Mapping } from '../../shared/records'
import { asSupervised } from '../../shared/roles'
import { isObject, tryJson } from '../../shared/json'
import type { ChatExample, Example, PairExample, RawRow } from '../types'
import { isTurn, readTurns, turnsOf } from './turns'
import { badRow, listOf, optionalText, requiredText, textOf, truthOf, valueAt } from './values'

/**
 * A row as an example.
 * @throws CodedError `data.row` with the column and the reason; `data.columns` where the mapping has no usable format.
 */
export function mapRow(row: RawRow, mapping: Mapping): Example {
  const { columns } = mapping
  if (columns.desirable !== undefined && truthOf(valueAt(row, columns.desirable)) !== true) {
    throw badRow(columns.desirable, 'The answer is marked as a bad one.')
  }
  switch (mapping.format) {
    case 'alpaca':
      return mapAlpaca(row, mapping)
    case 'sharegpt':
    case 'chat':
      return mapChat(row, mapping)
    case 'pair':
      return mapPair(row, mapping)
    case 'label':
      return mapLabel(row, mapping)
    case 'text':
      return { kind: 'text', text: requiredText(row, columns.text, 'text') }
    case 'tokens':
      return mapTokens(row, mapping)
    case 'preference':
      throw badRow('chosen', 'Preference rows are trained on only when you choose to learn the better answers.')
    case 'kto':
      throw badRow('label', 'Rated rows are trained on only when you choose to learn the good answers.')
    case 'unknown':
      throw badRow('', 'It is not known which columns hold the prompt and the answer.')
  }
}

/**
 * A row of two answers as two examples, or of one that was rated as an example with its rating.
 * @throws CodedError `data.row`; `data.columns` where the mapping is of neither kind.
 */
export function judgedExamples(row: RawRow, mapping: Mapping): { better: Example; worse?: Example; good?: boolean } {
  const supervised = asSupervised(mapping)
  const { desirable: _desirable, ...columns } = supervised.columns
  const better = mapRow(row, { ...supervised, columns })
  if (mapping.format === 'kto') {
    const rating = mapping.columns.label
    const good = rating === undefined ? null : truthOf(valueAt(row, rating))
    if (good === null || good === undefined) throw badRow(rating ?? 'label', 'The rating is neither good nor bad.')
    return { better, good }
  }
  const { chosen, rejected } = mapping.columns
  if (mapping.format !== 'preference' || chosen === undefined || rejected === undefined)
    throw badRow('', 'It has no better and no worse answer.')
  return { better, worse: mapRow(row, asSupervised({ ...mapping, columns: { ...mapping.columns, chosen: rejected } })) }
}

function mapAlpaca(row: RawRow, mapping: Mapping): PairExample {
  const { columns } = mapping
  const instruction = requiredText(row, columns.instruction, 'instruction')
  const input = optionalText(row, columns.input)
  const completion = requiredText(row, columns.output, 'output')
  const system = optionalText(row, columns.system) || (mapping.systemPrompt ?? '')
  const asked = input === '' ? instruction : `${instruction}\n${input}`
  const earlier = readHistory(row, columns.history)
  const chat: ChatMessage[] = system === '' ? [] : [{ role: 'system', content: system }]
  for (const [question, answer] of earlier) {
    chat.push({ role: 'user', content: question }, { role: 'assistant', content: answer })
  }
  chat.push({ role: 'user', content: asked }, { role: 'assistant', content: completion })
  const prompt = chat
    .slice(0, -1)
    .map((message) => message.content)
    .join('\n')
  return { kind: 'pair', prompt, completion, chat }
}

function readHistory(row: RawRow, column: string | undefined): [string, string][] {
  if (column === undefined) return []
  const value = valueAt(row, column)
  if (value === undefined || value === null || value === '') return []
  const list = listOf(value)
  if (!list) throw badRow(column, `The column "${column}" holds no list of turns.`)
  return list.map((turn, i) => {
    if (!Array.isArray(turn) || turn.length !== 2) {
      throw badRow(column, `Turn ${i + 1} of "${column}" is not a question and an answer.`)
    }
    return [textOf(turn[0]), textOf(turn[1])]
  })
}

function mapLabel(row: RawRow, mapping: Mapping): PairExample {
  const text = requiredText(row, mapping.columns.text, 'text')
  const completion = requiredText(row, mapping.columns.label, 'label')
  const chat: ChatMessage[] = [
    { role: 'user', content: text },
    { role: 'assistant', content: completion },
  ]
  const { systemPrompt } = mapping
  if (systemPrompt) chat.unshift({ role: 'system', content: systemPrompt })
  return { kind: 'pair', prompt: `${systemPrompt ? `${systemPrompt}\n` : ''}${text}\n`, completion, chat }
}

function mapPair(row: RawRow, mapping: Mapping): PairExample | ChatExample {
  const { columns, systemPrompt } = mapping
  const given = columns.prompt === undefined ? undefined : valueAt(row, columns.prompt)
  if (columns.prompt !== undefined && listOf(given)?.every(isTurn) && listOf(given)?.length) {
    return withAnswer(row, mapping, columns.prompt, columns.completion)
  }
  if (columns.prompt === undefined) throw badRow('prompt', 'No column is chosen for "prompt".')
  if (given === undefined || given === null) throw badRow(columns.prompt, `The column "${columns.prompt}" is missing.`)
  const completion = requiredText(row, columns.completion, 'completion')
  return { kind: 'pair', prompt: `${systemPrompt ? `${systemPrompt}\n` : ''}${textOf(given)}`, completion }
}

function mapChat(row: RawRow, mapping: Mapping): ChatExample {
  const role = mapping.format === 'sharegpt' ? 'conversations' : 'messages'
  const column = mapping.columns[role]
  if (column === undefined) throw badRow(role, `No column is chosen for "${role}".`)
  return withAnswer(row, mapping, column, mapping.columns.answer)
}

/** Turns of one column, and after them the answer of another, which alone is then learnt. */
function withAnswer(row: RawRow, mapping: Mapping, column: string, answerColumn: string | undefined): ChatExample {
  const { messages, unlearnt } = readTurns(row, column)
  const example: ChatExample = { kind: 'chat', messages }
  if (answerColumn !== undefined) {
    example.trainFrom = messages.length
    messages.push(...readAnswer(row, answerColumn))
  }
  const system = optionalText(row, mapping.columns.system) || (mapping.systemPrompt ?? '')
  const added = system !== '' && messages[0]?.role !== 'system'
  if (added) messages.unshift({ role: 'system', content: system })
  if (added && example.trainFrom !== undefined) example.trainFrom++
  if (unlearnt.length > 0) example.unlearnt = unlearnt.map((i) => (added ? i + 1 : i))
  const tools = readTools(row, mapping.columns.tools)
  if (tools) example.tools = tools
  return example
}

function readAnswer(row: RawRow, column: string): ChatMessage[] {
  const value = valueAt(row, column)
  if (isObject(value) || listOf(value)?.every(isTurn)) return turnsOf(value, column).messages
  return [{ role: 'assistant', content: requiredText(row, column, 'answer') }]
}

function readTools(row: RawRow, column: string | undefined): unknown[] | undefined {
  if (column === undefined) return undefined
  const value = valueAt(row, column)
  const parsed = typeof value === 'string' && value.trim() !== '' ? tryJson(value) : value
  if (Array.isArray(parsed)) return parsed.length > 0 ? parsed.map(asTool) : undefined
  if (isObject(parsed)) return [asTool(parsed)]
  if (parsed === undefined && textOf(value).trim() !== '') throw badRow(column, `The column "${column}" is not JSON.`)
  return undefined
}

/** A tool in the spelling that templates expect: `{type: 'function', function: {name, …}}`. */
function asTool(tool: unknown): unknown {
  if (!isObject(tool) || 'function' in tool || !('name' in tool)) return tool
  return { type: 'function', function: tool }
}

function mapTokens(row: RawRow, mapping: Mapping): Example {
  const column = mapping.columns.input_ids ?? 'input_ids'
  const inputIds = idsOf(row, column, 0)
  if (inputIds.length === 0) throw badRow(column, `The column "${column}" is empty.`)
  const labelColumn = mapping.columns.labels
  if (labelColumn === undefined) return { kind: 'tokens', inputIds, labels: [...inputIds] }
  const labels = idsOf(row, labelColumn, -100)
  if (labels.length !== inputIds.length) {
    throw badRow(labelColumn, `There are ${labels.length} labels for ${inputIds.length} token ids.`)
  }
  return { kind: 'tokens', inputIds, labels }
}

function idsOf(row: RawRow, column: string, least: number): number[] {
  const list = listOf(valueAt(row, column))
  if (!list) throw badRow(column, `The column "${column}" holds no list of token ids.`)
  return list.map((item, i) => {
    const id = typeof item === 'bigint' ? Number(item) : item
    if (typeof id !== 'number' || !Number.isInteger(id) || id < least || (id < 0 && id !== -100)) {
      throw badRow(column, `Item ${i + 1} of "${column}" is not a token id.`)
    }
    return id
  })
}
