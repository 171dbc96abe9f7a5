/** Examples put before a question, as one prompts a model instead of tuning it. Refuses to let a question's own answer in. */
import type { ChatMessage } from '../../shared/records'
import type { Example } from '../types'

/**
 * The same example with others before it: as earlier turns in a chat, else as text with an empty line between them. Only the last answer
 * is learnt. Running text and tokens come back as they are.
 */
export function withShots(shots: readonly Example[], example: Example): Example {
  if (example.kind === 'chat') {
    const before = shots.flatMap(turnsOf)
    const system = example.messages.filter((message, i) => i === 0 && message.role === 'system')
    const rest = example.messages.slice(system.length)
    const messages = [...system, ...before, ...rest]
    return { ...example, messages, trainFrom: lastAnswer(messages) }
  }
  if (example.kind !== 'pair') return example
  const text = textOf(shots)
  const chat = example.chat && withShots(shots, { kind: 'chat', messages: example.chat })
  return {
    ...example,
    prompt: text + example.prompt,
    ...(chat?.kind === 'chat' ? { chat: chat.messages } : {}),
  }
}

/** An example's turns without its system message; none for running text. */
export function turnsOf(shot: Example): ChatMessage[] {
  const messages = shot.kind === 'chat' ? shot.messages : shot.kind === 'pair' ? (shot.chat ?? []) : []
  return messages.filter(({ role }) => role !== 'system')
}

/** Prompts with their answers, each followed by an empty line. */
export function textOf(shots: readonly Example[]): string {
  const pairs = shots.filter((shot) => shot.kind === 'pair')
  return pairs.map(({ prompt, completion }) => `${prompt}${completion}\n\n`).join('')
}

function lastAnswer(messages: readonly ChatMessage[]): number {
  return Math.max(
    0,
    messages.findLastIndex(({ role }) => role === 'assistant'),
  )
}
