/**
 * Finds the answers inside a chat that a template has rendered, as exact character spans. Refuses to guess: where a template
 * hides an answer, it throws.
 *
 * First way: what the template renders up to an answer (with the generation prompt) and through it are literal beginnings of
 * the whole; the span lies between their lengths, so that tool calls and end tokens are inside. Second way, for templates that
 * rewrite earlier turns: each answer is marked with characters that no text uses, and the marks are looked up in the result;
 * without them it must equal the unmarked one.
 */
import type { ChatTemplate } from '../../engine/tokenizer/chat-template'
import type { ChatMessage } from '../../shared/records'

/** A half-open range of characters. */
export interface Span {
  start: number
  end: number
  /** Whether the end token is inside already, or follows and is still to be added. */
  closed: boolean
}

export interface RenderedChat {
  text: string
  spans: Span[]
  /** What follows the last answer at the end of a chat; its first token closes answers whose span is not closed. */
  tail: string
}

const OPEN = '\uE0F0'
const CLOSE = '\uE0F1'

/**
 * Renders a chat and finds the answers at the given message numbers.
 * @throws whatever the template throws; Error where an answer cannot be found exactly.
 */
export function renderWithSpans(
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  answers: readonly number[],
  tools: unknown[] | undefined,
): RenderedChat {
  const render = (part: readonly ChatMessage[], addGenerationPrompt: boolean) =>
    template.render([...part], { addGenerationPrompt, ...(tools ? { tools } : {}) })
  const text = render(messages, false)
  if (answers.length === 0) return { text, spans: [], tail: '' }
  const spans: Span[] = []
  for (const index of answers) {
    const span = spanByPrefix(text, messages, index, render)
    if (!span) return spansByMarks(text, messages, answers, render)
    spans.push(span)
  }
  return { text, spans, tail: '' }
}

type Render = (messages: readonly ChatMessage[], addGenerationPrompt: boolean) => string

function spanByPrefix(text: string, messages: readonly ChatMessage[], index: number, render: Render): Span | undefined {
  try {
    const before = render(messages.slice(0, index), true)
    const through = index === messages.length - 1 ? text : render(messages.slice(0, index + 1), false)
    if (!text.startsWith(through) || !through.startsWith(before) || before.length === through.length) return undefined
    return { start: before.length, end: through.length, closed: true }
  } catch {
    // Some templates refuse half a conversation; the marks need only the whole one.
    return undefined
  }
}

function spansByMarks(
  text: string,
  messages: readonly ChatMessage[],
  answers: readonly number[],
  render: Render,
): RenderedChat {
  const marked = messages.map((message, i) => (answers.includes(i) ? mark(message) : message))
  const spans = readMarks(render(marked, false), text)
  if (spans.length !== answers.length) throw hidden()
  const last = answers.at(-1) as number
  const through = messages.slice(0, last + 1)
  const end = render([...through.slice(0, -1), mark(through[last] as ChatMessage)], false)
  return { text, spans, tail: end.slice(end.lastIndexOf(CLOSE) + CLOSE.length) }
}

/** The message with marks inside its outer white space, which templates may trim. */
function mark(message: ChatMessage): ChatMessage {
  const core = message.content.trim()
  if (
    core === '' ||
    (message.tool_calls?.length ?? 0) > 0 ||
    message.content.includes(OPEN) ||
    message.content.includes(CLOSE)
  ) {
    throw hidden()
  }
  const start = message.content.indexOf(core)
  const after = message.content.slice(start + core.length)
  return { ...message, content: message.content.slice(0, start) + OPEN + core + CLOSE + after }
}

function readMarks(marked: string, expected: string): Span[] {
  const spans: Span[] = []
  let plain = ''
  let start = -1
  for (const part of marked.split(/([\uE0F0\uE0F1])/)) {
    if (part === OPEN) {
      if (start >= 0) throw hidden()
      start = plain.length
    } else if (part === CLOSE) {
      if (start < 0) throw hidden()
      spans.push({ start, end: plain.length, closed: false })
      start = -1
    } else plain += part
  }
  if (plain !== expected || start >= 0) throw hidden()
  return spans
}

function hidden(): Error {
  return new Error('the chat template does not show where an answer begins and ends')
}
