/** An example's prompt and answer as two texts, for comparing rows. Refuses to be what the model sees. */
import type { ChatMessage } from '../../shared/records'
import type { Example } from '../types'

export interface Parts {
  /** What the model is given; empty for running text. */
  prompt: string
  /** What it is to learn. */
  answer: string
}

/** Prompt and answer of an example; in a chat the answer is the last one and the prompt all that comes before it. */
export function partsOf(example: Example): Parts {
  switch (example.kind) {
    case 'pair':
      return { prompt: example.prompt, answer: example.completion }
    case 'text':
      return { prompt: '', answer: example.text }
    case 'tokens': {
      const learnt = example.labels.filter((label) => label !== -100)
      const given = example.inputIds.filter((_, i) => example.labels[i] === -100)
      return { prompt: given.join(' '), answer: learnt.join(' ') }
    }
    case 'chat': {
      const last = example.messages.findLastIndex((message) => message.role === 'assistant')
      const before = last < 0 ? example.messages : example.messages.slice(0, last)
      return {
        prompt: before.map(spoken).join('\n'),
        answer: last < 0 ? '' : said(example.messages[last] as ChatMessage),
      }
    }
  }
}

const said = (message: ChatMessage) =>
  message.tool_calls?.length ? `${message.content}${JSON.stringify(message.tool_calls)}` : message.content
const spoken = (message: ChatMessage) => `${message.role}: ${said(message)}`
