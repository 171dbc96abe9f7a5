/**
 * Rows of texts and labels for a classification head: the text alone in tokens, and after it the number of its class where the next token
 * would be learnt. Refuses rows that are no text with a label, and labels that are not a few.
 */
import type { Tokenizer } from '../../engine/tokenizer'
import { CodedError } from '../../shared/errors'
import type { Mapping } from '../../shared/records'
import type { EncodedExample, Example } from '../types'
import { IGNORED } from './encode'

/** More different labels than this are answers rather than classes. */
const MOST_CLASSES = 200

/** A text as a classification head reads it: after the mapping's system prompt where there is one, without a template. */
export function encodeText(text: string, mapping: Mapping | undefined, tokenizer: Tokenizer): number[] {
  return textIds(mapping?.systemPrompt ? `${mapping.systemPrompt}\n${text}` : text, tokenizer)
}

/** Rows of labels end in the line break that an answer would follow. */
function textIds(prompt: string, tokenizer: Tokenizer): number[] {
  return tokenizer.encode(prompt.replace(/\n$/, ''))
}

/** The classes of some rows: gathered row by row, then settled in the order of the alphabet; or given. */
export class Classes {
  #names: string[]
  #isSettled: boolean

  /** @param given what is to be told apart, where that is known; rows of other labels are then refused. */
  constructor(given?: readonly string[]) {
    this.#names = [...(given ?? [])]
    this.#isSettled = given !== undefined
  }

  get names(): readonly string[] {
    return this.#names
  }

  /**
   * Ends the gathering and gives the rows so far the final numbers. Does nothing where the classes were given.
   * @throws CodedError `data.columns` where the labels are not a few.
   */
  settle(rows: readonly { labels: Int32Array }[]): void {
    if (this.#isSettled) return
    const sorted = [...this.#names].sort()
    if (sorted.length < 2 || sorted.length > MOST_CLASSES)
      throw new CodedError('data.columns', `The rows have ${sorted.length} different labels.`, {
        where: 'label',
        fix: `A classification head tells 2 to ${MOST_CLASSES} classes apart: choose the column of the label, or learn answers.`,
      })
    const places = this.#names.map((name) => sorted.indexOf(name))
    for (const { labels } of rows) labels[labels.length - 1] = places[labels[labels.length - 1] as number] as number
    this.#names = sorted
    this.#isSettled = true
  }

  /**
   * The text in tokens, and behind it a place that the model never reads, whose label is the number of the class: so the last token of
   * the text is what is scored. A row that cannot be used comes back with its `problem`.
   */
  encode(example: Example, tokenizer: Tokenizer, maxLength: number): EncodedExample {
    const label = example.kind === 'pair' ? example.completion.trim() : ''
    const ids = example.kind === 'pair' ? textIds(example.prompt, tokenizer) : []
    const number = this.#numberOf(label)
    const length = Math.min(ids.length, maxLength)
    const labels = new Int32Array(length + 1).fill(IGNORED)
    labels[length] = number
    const problem =
      example.kind !== 'pair'
        ? 'A classification head needs a text and its label in each row.'
        : ids.length === 0
          ? 'The row has no text.'
          : number < 0
            ? `The label "${label.slice(0, 40)}" is none of the classes.`
            : undefined
    return {
      inputIds: Int32Array.from([...ids.slice(0, length), 0]),
      labels,
      truncated: ids.length - length,
      trainedTokens: 1,
      ...(problem === undefined ? {} : { problem }),
    }
  }

  #numberOf(label: string): number {
    if (label === '') return -1
    const known = this.#names.indexOf(label)
    return known >= 0 || this.#isSettled ? known : this.#names.push(label) - 1
  }
}
