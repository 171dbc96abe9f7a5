/** A row as the model sees it, token by token. Refuses to change it. */
import type { Tokenizer } from '../engine/tokenizer'
import type { ChatTemplate } from '../engine/tokenizer/chat-template'
import type { Mapping, PreviewRow } from '../shared/records'
import { IGNORED } from './encode/encode'
import { encodeRow } from './prepare'
import type { EncodeOptions, RawRow } from './types'

/**
 * One row for the preview; a row that cannot be used has its `problem`, and its tokens as far as there are any.
 * @param index the row's 0-based number in its dataset.
 */
export function previewRow(
  row: RawRow,
  index: number,
  mapping: Mapping,
  tokenizer: Tokenizer,
  template: ChatTemplate,
  encoding: EncodeOptions,
): PreviewRow {
  const { encoded, reason } = encodeRow(row, mapping, tokenizer, template, encoding)
  const problem = reason === undefined ? {} : { problem: reason }
  if (!encoded) return { index, tokens: [], truncated: 0, trainedTokens: 0, ...problem }
  const ids = [...encoded.inputIds]
  const pieces = tokenizer.pieces(ids)
  const tokens = ids.map((id, i) => ({
    id,
    text: pieces[i] ?? '',
    trained: i > 0 && encoded.labels[i] !== IGNORED,
    special: tokenizer.specialIds.has(id),
  }))
  return { index, tokens, truncated: encoded.truncated, trainedTokens: encoded.trainedTokens, ...problem }
}
