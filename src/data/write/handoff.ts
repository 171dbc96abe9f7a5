/** Rows as other trainers read them: prompt and completion, chats or running text, in JSON Lines. Refuses token ids, which only one tokenizer knows. */
import { CodedError, toReport } from '../../shared/errors'
import type { Mapping } from '../../shared/records'
import { mapRow } from '../formats/map'
import type { Example, RawRow } from '../types'
import { writeExample } from './convert'

export type HandoffKind = 'pair' | 'chat' | 'text'

export interface HandoffRows {
  kind: HandoffKind
  train: Uint8Array
  valid: Uint8Array
  trainRows: number
  validRows: number
  /** Rows that cannot be written so, and why. */
  skipped: { index: number; reason: string }[]
}

/**
 * Every row as one line, on the side that `isValid` puts it.
 * @param ownTemplate whether the model has a chat template of its own: single questions are then handed on as chats, as they are trained.
 * @throws CodedError `data.empty` where not one row can be written.
 */
export async function handoffRows(
  rows: Iterable<RawRow> | AsyncIterable<RawRow>,
  mapping: Mapping,
  ownTemplate: boolean,
  isValid: (index: number) => boolean,
): Promise<HandoffRows> {
  const sides = { train: new Lines(), valid: new Lines() }
  const skipped: { index: number; reason: string }[] = []
  let kind: HandoffKind | null = null
  let index = 0
  for await (const row of rows) {
    try {
      const example = mapRow(row, mapping)
      const own = kindOf(example, ownTemplate)
      if (own !== (kind ??= own)) throw new Error(`The row is a ${own} row among ${kind} rows.`)
      sides[isValid(index) ? 'valid' : 'train'].add(JSON.stringify(writeExample(asChat(example, own), own)))
    } catch (error) {
      skipped.push({ index, reason: toReport(error).what })
    }
    index++
  }
  if (kind === null || sides.train.count === 0)
    throw new CodedError('data.empty', 'Not one row can be handed on.', {
      where: skipped[0] ? `row ${skipped[0].index + 1}: ${skipped[0].reason}` : '',
      fix: 'Use a dataset of texts: rows of token ids belong to one tokenizer.',
    })
  return {
    ...{ kind, train: sides.train.bytes(), valid: sides.valid.bytes(), skipped },
    ...{ trainRows: sides.train.count, validRows: sides.valid.count },
  }
}

/** Lines of a file in the making. */
class Lines {
  count = 0
  readonly #parts: Uint8Array[] = []

  add(line: string): void {
    this.#parts.push(new TextEncoder().encode(`${line}\n`))
    this.count++
  }

  bytes(): Uint8Array {
    const out = new Uint8Array(this.#parts.reduce((sum, part) => sum + part.length, 0))
    let at = 0
    for (const part of this.#parts) {
      out.set(part, at)
      at += part.length
    }
    return out
  }
}

function kindOf(example: Example, ownTemplate: boolean): HandoffKind {
  if (example.kind === 'tokens') throw new Error('Token ids belong to one tokenizer.')
  return example.kind === 'pair' && example.chat && ownTemplate ? 'chat' : example.kind
}

function asChat(example: Example, kind: HandoffKind): Example {
  return kind === 'chat' && example.kind === 'pair' && example.chat ? { kind: 'chat', messages: example.chat } : example
}
