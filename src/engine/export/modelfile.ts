/**
 * An Ollama Modelfile: the model's chat template in Ollama's own language, found by rendering, and its stop texts. Refuses to write a
 * template where the model's own cannot be put so; Ollama then uses what the GGUF file says.
 */
import type { ChatTemplate } from '../tokenizer/chat-template'
import type { Tokenizer } from '../tokenizer'

interface ModelfileInput {
  /** What stands after FROM: a GGUF file, or the base model's name where only an adapter is given. */
  from: string
  adapter?: string
  chatTemplate: ChatTemplate
  tokenizer: Tokenizer
}

/** Words that no template changes and no text has. */
const SYSTEM = 'finetabsystem'
const USER = 'finetabuser'
const ANSWER = 'finetabanswer'

/** The Modelfile's text. */
export function modelfile(input: ModelfileInput): string {
  const template = ollamaTemplate(input.chatTemplate, input.tokenizer)
  const stops = new Set([...input.tokenizer.endIds].map((id) => input.tokenizer.tokenOf(id) ?? '').filter(Boolean))
  if (template) for (const stop of template.stops) stops.add(stop)
  const lines = [
    `FROM ${input.from}`,
    ...(input.adapter ? [`ADAPTER ${input.adapter}`] : []),
    ...(template ? [`TEMPLATE """${template.text}"""`] : []),
    ...[...stops].map((stop) => `PARAMETER stop ${JSON.stringify(stop)}`),
  ]
  return `${lines.join('\n')}\n`
}

/** The template with `.System`, `.Prompt` and `.Response`, or null where it cannot be put so. */
function ollamaTemplate(template: ChatTemplate, tokenizer: Tokenizer): { text: string; stops: string[] } | null {
  const user = { role: 'user', content: USER }
  const assistant = { role: 'assistant', content: ANSWER }
  try {
    const chat = template.render([user, assistant, user], { addGenerationPrompt: true })
    const first = template.render([user], { addGenerationPrompt: true })
    const closed = template.render([user, assistant], { addGenerationPrompt: false })
    const end = closed.slice(closed.indexOf(ANSWER) + ANSWER.length)
    const rest = chat.slice(chat.indexOf(ANSWER) + ANSWER.length)
    if (!closed.includes(ANSWER) || !chat.includes(ANSWER) || !rest.startsWith(end)) return null
    // What stands between two turns goes behind the answer: nothing stands before the first.
    const between = rest.slice(end.length)
    const turn = between.trimStart()
    const gap = between.slice(0, between.length - turn.length)
    if (turn.split(USER).length !== 2 || !first.includes(USER)) return null
    const text = opening(template, tokenizer, turn) + literal(turn) + '{{ .Response }}' + literal(end + gap)
    if (text.includes('"""')) return null
    return { text, stops: template.builtIn === 'plain' ? ['\nUser:'] : [] }
  } catch {
    // A template that refuses these chats is left to the GGUF file.
    return null
  }
}

/** What a system message puts before the first turn, if the template takes one. */
function opening(template: ChatTemplate, tokenizer: Tokenizer, turn: string): string {
  let whole: string
  try {
    const messages = [
      { role: 'system', content: SYSTEM },
      { role: 'user', content: USER },
    ]
    whole = template.render(messages, { addGenerationPrompt: true })
  } catch {
    return ''
  }
  // Ollama puts the token that begins a text there by itself.
  const begin = tokenizer.bosId === null ? '' : (tokenizer.tokenOf(tokenizer.bosId) ?? '')
  const bare = begin && whole.startsWith(begin) ? whole.slice(begin.length) : whole
  if (!bare.includes(SYSTEM) || !bare.endsWith(turn)) return ''
  const system = bare.slice(0, bare.length - turn.length)
  return system.includes(SYSTEM) ? `{{ if .System }}${literal(system)}{{ end }}` : ''
}

/** Text with its places filled in Ollama's way; braces of its own are kept from meaning anything. */
function literal(text: string): string {
  return text.replaceAll('{{', '{{ "{{" }}').replaceAll(USER, '{{ .Prompt }}').replaceAll(SYSTEM, '{{ .System }}')
}
