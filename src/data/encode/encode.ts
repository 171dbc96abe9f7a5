/**
 * Examples to token ids and labels, by the conventions that make numbers comparable with other tools. Refuses to add, drop or
 * move a token beyond them.
 *
 * - pair: tokenizer(prompt, special tokens added) + tokenizer(completion, none added) + [eos]; -100 on the prompt.
 * - text: tokenizer(text, special tokens added) + [eos] unless it ends in one; all learnt.
 * - chat: through the chat template (see chat.ts); the answers with their end token are learnt.
 * - tokens: as they stand.
 * With `trainOn: 'last'` only the last of a chat's answers is learnt; with `all` every token, except in pre-tokenised rows. Rows are
 * cut at the end.
 */
import type { Tokenizer } from '../../engine/tokenizer'
import type { ChatTemplate } from '../../engine/tokenizer/chat-template'
import { toReport } from '../../shared/errors'
import type { EncodedExample, EncodeOptions, Example } from '../types'
import { encodeChat, type LabelledIds } from './chat'

/** The label that the loss passes over. */
export const IGNORED = -100

/**
 * An example in tokens. A row that cannot be trained on comes back with its `problem`; nothing is thrown.
 */
export function encodeExample(
  example: Example,
  tokenizer: Tokenizer,
  template: ChatTemplate,
  options: EncodeOptions,
): EncodedExample {
  if (example.kind === 'tokens') {
    const foreign = example.inputIds.find((id) => id >= tokenizer.vocabularySize)
    const problem = foreign === undefined ? undefined : `Token id ${foreign} is not in the model's vocabulary.`
    return finish(example.inputIds, example.labels, options.maxLength, problem)
  }
  let labelled: LabelledIds
  try {
    labelled = encodeLabelled(example, tokenizer, template, options.trainOn === 'last')
  } catch (error) {
    return finish([], [], options.maxLength, `The chat template cannot write this row: ${toReport(error).what}`)
  }
  const { ids, learnt } = labelled
  const labels = options.trainOn === 'all' ? ids : ids.map((id, i) => (learnt[i] ? id : IGNORED))
  return finish(ids, labels, options.maxLength)
}

function encodeLabelled(
  example: Exclude<Example, { kind: 'tokens' }>,
  tokenizer: Tokenizer,
  template: ChatTemplate,
  lastOnly: boolean,
): LabelledIds {
  switch (example.kind) {
    case 'text': {
      const ids = tokenizer.encode(example.text)
      if (tokenizer.eosId !== null && ids.at(-1) !== tokenizer.eosId) ids.push(tokenizer.eosId)
      return { ids, learnt: ids.map(() => true) }
    }
    case 'pair': {
      if (example.chat && template.builtIn === null) {
        const { chat } = example
        return encodeChat({ kind: 'chat', messages: chat, trainFrom: chat.length - 1 }, tokenizer, template)
      }
      const ids = tokenizer.encode(example.prompt)
      const prompt = ids.length
      for (const id of tokenizer.encode(example.completion, { addSpecialTokens: false })) ids.push(id)
      if (tokenizer.eosId !== null) ids.push(tokenizer.eosId)
      return { ids, learnt: ids.map((_, i) => i >= prompt) }
    }
    case 'chat':
      return encodeChat(example, tokenizer, template, lastOnly)
  }
}

function finish(
  ids: readonly number[],
  labels: readonly number[],
  maxLength: number,
  problem?: string,
): EncodedExample {
  const length = Math.min(ids.length, maxLength)
  const encoded: EncodedExample = {
    inputIds: Int32Array.from({ length }, (_, i) => ids[i] as number),
    labels: Int32Array.from({ length }, (_, i) => labels[i] as number),
    truncated: ids.length - length,
    trainedTokens: 0,
  }
  for (let i = 1; i < length; i++) if (encoded.labels[i] !== IGNORED) encoded.trainedTokens++
  const reason = problem ?? (encoded.trainedTokens === 0 ? untrained(labels, encoded.truncated) : undefined)
  if (reason !== undefined) encoded.problem = reason
  return encoded
}

function untrained(labels: readonly number[], truncated: number): string {
  const before = labels.some((label, i) => i > 0 && label !== IGNORED)
  return before && truncated > 0
    ? 'No token to learn is left: the maximum length cuts the whole answer off.'
    : 'There is no token to learn: the row has no answer.'
}
