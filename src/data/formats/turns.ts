/** Turns of conversations in either spelling (role/content, from/value) as chat messages. Refuses turns it does not understand. */
import type { ChatMessage } from '../../shared/records'
import { isObject, tryJson } from '../../shared/json'
import type { RawRow } from '../types'
import { badRow, listOf, textOf, valueAt } from './values'

const ROLES: Record<string, ChatMessage['role']> = {
  system: 'system',
  developer: 'system',
  user: 'user',
  human: 'user',
  prompter: 'user',
  assistant: 'assistant',
  gpt: 'assistant',
  chatgpt: 'assistant',
  bot: 'assistant',
  model: 'assistant',
  function_call: 'assistant',
  tool_call: 'assistant',
  tool: 'tool',
  function: 'tool',
  observation: 'tool',
  ipython: 'tool',
  function_response: 'tool',
}

/** Whether a value looks like one turn: a role and something said. */
export function isTurn(value: unknown): value is Record<string, unknown> {
  if (!isObject(value)) return false
  return (typeof value.role === 'string' && ('content' in value || 'tool_calls' in value)) || isShareGptTurn(value)
}

/** Whether a turn is spelled from/value. */
export function isShareGptTurn(value: unknown): boolean {
  return isObject(value) && typeof value.from === 'string' && 'value' in value
}

export interface Turns {
  messages: ChatMessage[]
  /** Numbers of answers whose file gave them the weight 0. */
  unlearnt: number[]
}

/**
 * The turns in a column (a list, a single turn, or either as JSON text).
 * @throws CodedError `data.row`, naming the turn.
 */
export function readTurns(row: RawRow, column: string): Turns {
  return turnsOf(valueAt(row, column), column)
}

/** The turns in a value; a plain text is one answer. */
export function turnsOf(value: unknown, column: string): Turns {
  const parsed = typeof value === 'string' && value.trimStart().startsWith('{') ? tryJson(value) : value
  const list = isTurn(parsed) ? [parsed] : listOf(value)
  if (!list) throw badRow(column, `The column "${column}" holds no list of turns.`)
  if (list.length === 0) throw badRow(column, `The column "${column}" holds no turns.`)
  const messages: ChatMessage[] = []
  const unlearnt: number[] = []
  list.forEach((turn, i) => {
    const weight = isObject(turn) ? (turn.weight ?? turn.loss_weight) : undefined
    const message = readTurn(turn, column, i + 1)
    if (message.role === 'assistant' && weight === 0) unlearnt.push(messages.length)
    messages.push(message)
  })
  return { messages, unlearnt }
}

function readTurn(turn: unknown, column: string, number: number): ChatMessage {
  if (!isTurn(turn)) throw badRow(column, `Turn ${number} has no role and content.`)
  const said = turn.role === undefined ? String(turn.from) : String(turn.role)
  const role = ROLES[said.trim().toLowerCase()]
  if (!role) throw badRow(column, `Turn ${number} has the role "${said}"; known are system, user, assistant and tool.`)
  const raw = turn.role === undefined ? turn.value : turn.content
  const message: ChatMessage = { role, content: contentText(raw, column, number) }
  const calls = toolCalls(turn, raw, said)
  if (calls.length > 0) {
    message.tool_calls = calls
    if (said === 'function_call' || said === 'tool_call') message.content = ''
  }
  if (role === 'assistant' && message.content.trim() === '' && calls.length === 0) {
    throw badRow(column, `Turn ${number} is an empty answer.`)
  }
  return message
}

/** Text of a turn's content: a text, or a list of parts of which only texts and thoughts can be used. */
function contentText(content: unknown, column: string, number: number): string {
  if (!Array.isArray(content)) return textOf(content)
  return content
    .map((part) => {
      if (typeof part === 'string') return part
      if (!isObject(part)) return textOf(part)
      if (part.type === 'tool_call') return ''
      const text = part.text ?? part.value ?? part.content
      if (part.type === 'reasoning') return `<think>\n${textOf(text)}\n</think>\n\n`
      if (typeof text === 'string' && (part.type === undefined || part.type === 'text')) return text
      throw badRow(column, `Turn ${number} holds "${textOf(part.type)}"; only text can be trained on.`)
    })
    .join('')
}

function toolCalls(turn: Record<string, unknown>, raw: unknown, said: string): unknown[] {
  if (Array.isArray(turn.tool_calls)) return turn.tool_calls.map(asCall)
  if (said === 'function_call' || said === 'tool_call') {
    const parsed = typeof raw === 'string' ? tryJson(raw) : raw
    const list = Array.isArray(parsed) ? parsed : [parsed]
    return list.every((call) => isObject(call) && 'name' in call) ? list.map(asCall) : []
  }
  if (!Array.isArray(raw)) return []
  return raw
    .filter((part) => isObject(part) && part.type === 'tool_call')
    .map((part) => {
      const value = (part as Record<string, unknown>).value
      return asCall(typeof value === 'string' ? (tryJson(value) ?? value) : value)
    })
}

/** A call in the spelling that templates expect: `{type: 'function', function: {name, arguments}}`. */
function asCall(call: unknown): unknown {
  if (!isObject(call)) return call
  const inner = isObject(call.function) ? call.function : call
  const { name, arguments: given } = inner
  const parsed = typeof given === 'string' ? (tryJson(given) ?? given) : given
  return { type: 'function', function: { name, arguments: parsed ?? {} } }
}
