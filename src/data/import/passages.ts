/**
 * Running text as rows: a line each where there are no blank lines, else paragraphs gathered to passages of a few hundred tokens.
 * Refuses to split a sentence where it can be helped.
 */
import type { Collector, TextParser } from './collector'

/** Characters of a passage: about 300 tokens of English. */
const WANTED = 1200
const LONGEST = 4000
/** Characters looked at to tell lines from paragraphs. */
const LOOK = 256 * 1024

export class PassageParser implements TextParser {
  readonly #out: Collector
  readonly #markdown: boolean
  #buffer = ''
  #line = 1
  #passage: string[] = []
  #length = 0
  #start = 1
  /** Decided from the first text: whether each line is a row. */
  lines: boolean | undefined

  constructor(out: Collector, markdown: boolean) {
    this.#out = out
    this.#markdown = markdown
  }

  push(text: string): void {
    this.#buffer += text
    if (this.lines !== undefined || this.#buffer.length >= LOOK) this.#work(false)
  }

  end(): void {
    this.#work(true)
    this.#close()
  }

  #work(final: boolean): void {
    this.lines ??= !this.#markdown && !/\n[^\S\n]*\n[^\S\n]*\S/.test(this.#buffer.trim())
    const pieces = this.#buffer.split('\n')
    this.#buffer = final ? '' : (pieces.pop() ?? '')
    for (const piece of pieces) {
      this.#take(piece.endsWith('\r') ? piece.slice(0, -1) : piece)
      this.#line++
    }
  }

  #take(line: string): void {
    if (this.lines) {
      if (line.trim() !== '') this.#out.value({ text: line.trim() }, this.#line)
      return
    }
    const blank = line.trim() === ''
    const heading = this.#markdown && /^#{1,6}\s/.test(line)
    if (heading || (blank && this.#length >= WANTED)) this.#close()
    if (blank && this.#passage.length === 0) return
    if (this.#passage.length === 0) this.#start = this.#line
    this.#passage.push(line)
    this.#length += line.length + 1
    if (this.#length > LONGEST) this.#close()
  }

  #close(): void {
    const text = this.#passage.join('\n').trim()
    this.#passage = []
    this.#length = 0
    if (text === '') return
    for (const part of splitLong(text)) this.#out.value({ text: part }, this.#start)
  }
}

/** Parts of at most {@link LONGEST} characters, cut after a sentence or else at a space. */
function splitLong(text: string): string[] {
  const parts: string[] = []
  let rest = text
  while (rest.length > LONGEST) {
    const head = rest.slice(0, LONGEST)
    const sentence = Math.max(...['. ', '! ', '? ', '.\n', '。', '\n'].map((mark) => head.lastIndexOf(mark)))
    const space = head.lastIndexOf(' ')
    const cut = sentence > LONGEST / 4 ? sentence + 1 : space > 0 ? space : LONGEST
    parts.push(rest.slice(0, cut).trim())
    rest = rest.slice(cut).trim()
  }
  if (rest !== '') parts.push(rest)
  return parts
}
