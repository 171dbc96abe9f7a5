/** Chats to tokens with exact labels on the answers. Refuses to label a token that is not part of an answer or of its end. */
import type { Tokenizer } from '../../engine/tokenizer'
import type { ChatTemplate } from '../../engine/tokenizer/chat-template'
import type { ChatMessage } from '../../shared/records'
import type { ChatExample } from '../types'
import { renderWithSpans, type RenderedChat, type Span } from './spans'

export interface LabelledIds {
  ids: number[]
  /** Beside `ids`: whether the token is learnt. */
  learnt: boolean[]
}

/**
 * A chat in tokens: the rendered text is tokenised as a whole and without further special tokens, as transformers does.
 * Learnt are the answers' tokens with their end token; white space that the template puts after an end token is not.
 * @param lastOnly of the answers that may be learnt, only the last is.
 * @throws whatever the template throws; Error where an answer cannot be found exactly.
 */
export function encodeChat(
  example: ChatExample,
  tokenizer: Tokenizer,
  template: ChatTemplate,
  lastOnly = false,
): LabelledIds {
  const messages = adapt(example.messages, template)
  const answers = messages.flatMap((message, i) => (isLearnt(example, message, i) ? [i] : []))
  const rendered = render(template, messages, lastOnly ? answers.slice(-1) : answers, example.tools)
  return labelTokens(rendered, tokenizer, template)
}

/**
 * The ids of a rendered chat, for training and for prompts alike. Some tokenizers do not see their own special tokens inside a text
 * (added tokens that are looked for after a normaliser has put a space before the text). A template of the model's own is taken as
 * transformers takes it, whatever comes out; a built-in one is ours, so its special tokens are put in by id.
 */
export function encodeRendered(text: string, tokenizer: Tokenizer, template: ChatTemplate): number[] {
  return sections(text, tokenizer, template).flatMap((section) => section.ids)
}

interface Section {
  text: string
  ids: number[]
}

function sections(text: string, tokenizer: Tokenizer, template: ChatTemplate): Section[] {
  const whole = tokenizer.encode(text, { addSpecialTokens: false })
  const { eosId } = tokenizer
  const end = eosId === null ? undefined : tokenizer.tokenOf(eosId)
  if (template.builtIn === null || !end || !text.includes(end)) return [{ text, ids: whole }]
  const parts = text.split(end)
  if (whole.filter((id) => id === eosId).length >= parts.length - 1) return [{ text, ids: whole }]
  return parts.flatMap((part, i): Section[] => [
    ...(i > 0 ? [{ text: end, ids: [eosId as number] }] : []),
    ...(part === '' ? [] : [{ text: part, ids: tokenizer.encode(part, { addSpecialTokens: false }) }]),
  ])
}

function isLearnt(example: ChatExample, message: ChatMessage, index: number): boolean {
  return message.role === 'assistant' && index >= (example.trainFrom ?? 0) && !example.unlearnt?.includes(index)
}

/** Writes as text what the template has no place for: tool calls as JSON, tool results as the user's turn. */
function adapt(messages: readonly ChatMessage[], template: ChatTemplate): ChatMessage[] {
  const knowsCalls = template.source.includes('tool_calls')
  const knowsTools = /['"]tool['"]/.test(template.source)
  return messages.map((message) => {
    if (message.role === 'tool' && !knowsTools) return { role: 'user', content: message.content }
    if (!message.tool_calls?.length || knowsCalls) return message
    const calls = message.tool_calls.map((call) => JSON.stringify((call as { function?: unknown }).function ?? call))
    return { role: message.role, content: [message.content, ...calls].filter(Boolean).join('\n') }
  })
}

/** Renders; where a template refuses a system turn, the system text opens the first question instead. */
function render(
  template: ChatTemplate,
  messages: ChatMessage[],
  answers: number[],
  tools: unknown[] | undefined,
): RenderedChat {
  try {
    return renderWithSpans(template, messages, answers, tools)
  } catch (error) {
    const [system, first, ...rest] = messages
    if (system?.role !== 'system' || first?.role !== 'user') throw error
    const merged = { ...first, content: `${system.content}\n\n${first.content}` }
    try {
      return renderWithSpans(
        template,
        [merged, ...rest],
        answers.map((i) => i - 1),
        tools,
      )
    } catch {
      throw error
    }
  }
}

function labelTokens(rendered: RenderedChat, tokenizer: Tokenizer, template: ChatTemplate): LabelledIds {
  const parts = sections(rendered.text, tokenizer, template)
  const whole = parts.flatMap((part) => part.ids)
  const offsets = allOffsets(parts, tokenizer)
  const encode = (text: string) => encodeRendered(text, tokenizer, template)
  const cut = cutAnswers(rendered, whole, offsets, encode, template.builtIn !== null)
  const { ids, ranges } = cut
  const learnt = new Array<boolean>(ids.length).fill(false)
  const endId = firstSpecial(rendered.tail, tokenizer)
  ranges.forEach((range, i) => {
    let { end } = range
    if (rendered.spans[i]?.closed) end = withoutTrailingSpace(ids, range, tokenizer)
    else if (endId !== undefined && ids[end] === endId) end++
    learnt.fill(true, range.start, end)
  })
  return { ids, learnt }
}

/**
 * The ids with the ranges of the answers. Where an answer shares its first token with what stands before it, that token is learnt
 * with it; but where the template is ours, the two are tokenised apart, so that training sees what a prompt will look like.
 */
function cutAnswers(
  rendered: RenderedChat,
  whole: number[],
  offsets: number[] | undefined,
  encode: Encode,
  ours: boolean,
): Cut {
  if (!offsets) return rangesByPrefix(whole, rendered, encode) ?? inSegments(rendered, encode)
  const borders = ours ? new Set(offsets) : undefined
  if (borders && rendered.spans.some((span) => !borders.has(span.start))) return inSegments(rendered, encode)
  return { ids: whole, ranges: rendered.spans.map((span) => rangeByOffsets(span, offsets)) }
}

/** Where each token's text begins, with the text's length at the end; undefined where tokens do not spell the text out. */
function allOffsets(parts: readonly Section[], tokenizer: Tokenizer): number[] | undefined {
  const offsets: number[] = []
  let at = 0
  for (const part of parts) {
    const own = part.ids.length === 1 && parts.length > 1 ? [0] : tokenOffsets(part.ids, part.text, tokenizer)
    if (!own) return undefined
    for (const offset of own) offsets.push(at + offset)
    at += part.text.length
  }
  return [...offsets, at]
}

/**
 * Offsets within one section. A space that the tokenizer puts before a text, or takes from it, belongs to its first token; a token for
 * an unknown character stands for one character. Every other character must be spelt out.
 */
function tokenOffsets(ids: readonly number[], text: string, tokenizer: Tokenizer): number[] | undefined {
  const offsets: number[] = []
  let at = 0
  const pieces = tokenizer.pieces(ids)
  for (const [i, piece] of pieces.entries()) {
    offsets.push(at)
    const first = at === 0
    if (text.startsWith(piece, at)) at += piece.length
    else if (first && text.startsWith(` ${piece}`)) at += piece.length + 1
    else if (first && piece.startsWith(' ') && text.startsWith(piece.slice(1))) at += piece.length - 1
    else if (tokenizer.specialIds.has(ids[i] as number)) at += (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1
    else return undefined
  }
  return at === text.length ? offsets : undefined
}

interface Range {
  start: number
  end: number
}

interface Cut {
  ids: number[]
  ranges: Range[]
}

type Encode = (text: string) => number[]

/** Tokens that share a character with the span; a token without text belongs to the character that the next ones complete. */
function rangeByOffsets(span: Span, offsets: readonly number[]): Range {
  const count = offsets.length - 1
  let start = 0
  while (start < count && (offsets[start + 1] as number) <= span.start && (offsets[start] as number) < span.start)
    start++
  let end = start
  while (end < count && (offsets[end] as number) < span.end) end++
  return { start, end }
}

/** Boundaries by tokenising what comes before them, where that gives the very beginning of the whole. */
function rangesByPrefix(ids: number[], rendered: RenderedChat, encode: Encode): Cut | undefined {
  const boundary = (at: number): number | undefined => {
    const before = encode(rendered.text.slice(0, at))
    return before.every((id, i) => ids[i] === id) ? before.length : undefined
  }
  const ranges: Range[] = []
  for (const span of rendered.spans) {
    const start = boundary(span.start)
    const end = span.end === rendered.text.length ? ids.length : boundary(span.end)
    if (start === undefined || end === undefined) return undefined
    ranges.push({ start, end })
  }
  return { ids, ranges }
}

/** The last resort, exact by construction: what lies between boundaries is tokenised apart, as generation itself would. */
function inSegments(rendered: RenderedChat, encode: Encode): Cut {
  const ids: number[] = []
  const ranges: Range[] = []
  const add = (text: string) => {
    if (text !== '') for (const id of encode(text)) ids.push(id)
  }
  let at = 0
  for (const span of rendered.spans) {
    add(rendered.text.slice(at, span.start))
    const start = ids.length
    add(rendered.text.slice(span.start, span.end))
    ranges.push({ start, end: ids.length })
    at = span.end
  }
  add(rendered.text.slice(at))
  return { ids, ranges }
}

/** The range's end without tokens of white space after its last special token. */
function withoutTrailingSpace(ids: readonly number[], range: Range, tokenizer: Tokenizer): number {
  for (let end = range.end; end > range.start; end--) {
    const id = ids[end - 1] as number
    if (tokenizer.specialIds.has(id)) return end
    if (tokenizer.decode([id]).trim() !== '') break
  }
  return range.end
}

function firstSpecial(text: string, tokenizer: Tokenizer): number | undefined {
  const [id] = tokenizer.encode(text, { addSpecialTokens: false })
  return id !== undefined && tokenizer.specialIds.has(id) ? id : undefined
}
