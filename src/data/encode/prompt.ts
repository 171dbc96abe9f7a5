/** A question asked of a tuned model, in the very tokens in which its training rows asked. Refuses to add anything they did not have. */
import type { Tokenizer } from '../../engine/tokenizer'
import type { ChatTemplate } from '../../engine/tokenizer/chat-template'
import type { Mapping } from '../../shared/records'
import type { Example } from '../types'
import { encodeRendered } from './chat'
import { textOf, turnsOf } from './shots'

/**
 * Tokens up to where the answer begins. Chats, and instructions and labels where the model has a chat template of its own, go through
 * the template with the mapping's system prompt; all else is the text as it stands, a label's with its line break.
 * @param shots examples that come first: what prompting would do instead of tuning.
 */
export function encodePrompt(
  text: string,
  mapping: Mapping,
  tokenizer: Tokenizer,
  template: ChatTemplate,
  shots: readonly Example[] = [],
): number[] {
  const { format, systemPrompt } = mapping
  const chat = format === 'chat' || format === 'sharegpt'
  const either = format === 'alpaca' || format === 'label'
  if (chat || (either && template.builtIn === null)) {
    const system = systemPrompt ? [{ role: 'system', content: systemPrompt }] : []
    const rendered = template.render([...system, ...shots.flatMap(turnsOf), { role: 'user', content: text }], {
      addGenerationPrompt: true,
    })
    return encodeRendered(rendered, tokenizer, template)
  }
  if (format === 'text' || format === 'tokens') return tokenizer.encode(text)
  const before = systemPrompt ? `${systemPrompt}\n` : ''
  return tokenizer.encode(`${before}${textOf(shots)}${text}${format === 'label' ? '\n' : ''}`)
}
