/**
 * The rows of a JSON list, one at a time as the text arrives. Refuses to let a broken row take the good ones after it along: it
 * looks for the next row that begins as its neighbours do, and goes on there.
 */
import { tryJson } from '../../shared/json'
import type { Collector, TextParser } from './collector'
import { findJsonFault } from './json-error'
import { scanValue, skipSpace } from './json-scan'

/** Characters after which a row without an end counts as broken. */
const LONGEST_ROW = 64 * 1024 * 1024
/** Arriving text is gathered to this size before it is looked at, so that long rows are not scanned over and over. */
const GATHER = 256 * 1024

export class JsonArrayParser implements TextParser {
  readonly #out: Collector
  readonly #firstKeys = new Set<string>()
  #buffer = ''
  #waiting: string[] = []
  #waitingLength = 0
  #line = 1
  /** Offset in the buffer up to which lines are counted. */
  #at = 0
  /** Column (0-based) of the buffer's start in its line. */
  #column = 0
  #state: 'before' | 'rows' | 'lost' | 'after' | 'over' = 'before'

  constructor(out: Collector) {
    this.#out = out
  }

  push(text: string): void {
    this.#waiting.push(text)
    this.#waitingLength += text.length
    // Doubling keeps the work linear in the length of a row that needs many pieces.
    if (this.#waitingLength >= Math.max(GATHER, this.#buffer.length)) this.#work(false)
  }

  end(): void {
    this.#work(true)
    if (this.#state === 'rows') this.#report(0, 'The list is not closed: the file ends too early.', this.#buffer)
  }

  #work(final: boolean): void {
    this.#buffer += this.#waiting.join('')
    this.#waiting = []
    this.#waitingLength = 0
    let at = 0
    for (;;) {
      const next = this.#step(at, final)
      if (next.at > at) at = next.at
      if (next.stop) break
    }
    this.#consume(Math.min(at, this.#buffer.length))
  }

  /** Does one thing at an offset; `at` is the next offset, `stop` says that more text is needed or all is done. */
  #step(from: number, final: boolean): Step {
    const at = skipSpace(this.#buffer, from)
    if (at >= this.#buffer.length) return { at, stop: true }
    if (this.#state === 'lost') return this.#recover(at, final)
    const c = this.#buffer[at]
    if (this.#state === 'before') {
      this.#state = 'rows'
      return { at: at + 1 }
    }
    if (this.#state === 'after') {
      this.#report(at, 'There is more text after the end of the list.', this.#buffer.slice(at, at + 300))
      this.#state = 'over'
    }
    if (this.#state === 'over') return { at: this.#buffer.length, stop: true }
    if (c === ',') return { at: at + 1 }
    if (c === ']') {
      this.#state = 'after'
      return { at: at + 1 }
    }
    return this.#row(at, final)
  }

  #row(at: number, final: boolean): Step {
    const scan = scanValue(this.#buffer, at, final)
    if (scan === 'more' && this.#buffer.length - at < LONGEST_ROW) return { at, stop: true }
    if (scan === 'more' || 'broken' in scan) return this.#lose(at, final)
    const text = this.#buffer.slice(at, scan.end)
    const value = tryJson(text)
    if (value === undefined) return this.#lose(at, final)
    const key = firstKey(text)
    if (key !== undefined) this.#firstKeys.add(key)
    this.#out.value(value, this.#lineAt(at))
    return { at: scan.end }
  }

  /** Sets the row at an offset aside and begins to look for the next. */
  #lose(at: number, final: boolean): Step {
    const text = this.#buffer.slice(at, at + 100_000)
    const fault = findJsonFault(text)
    this.#report(at + (fault?.offset ?? 0), fault?.reason ?? 'The row is too long.', text.slice(0, 300), at)
    const key = firstKey(text)
    if (key !== undefined) this.#firstKeys.add(key)
    this.#state = 'lost'
    return this.#recover(at + 1, final)
  }

  /** Goes on where a row begins as the others do and can be read; waits for more text where none is found. */
  #recover(from: number, final: boolean): Step {
    const pattern = /\{\s*"((?:[^"\\]|\\.)*)"\s*:/g
    pattern.lastIndex = from
    for (let match = pattern.exec(this.#buffer); match; match = pattern.exec(this.#buffer)) {
      const start = match.index
      pattern.lastIndex = start + 1
      if (!this.#firstKeys.has(match[1] ?? '')) continue
      const scan = scanValue(this.#buffer, start, final)
      if (scan === 'more') return { at: start, stop: true }
      if ('broken' in scan || tryJson(this.#buffer.slice(start, scan.end)) === undefined) continue
      this.#state = 'rows'
      return { at: start }
    }
    if (final) this.#state = 'over'
    return { at: Math.max(from, this.#buffer.length - (final ? 0 : 10_000)), stop: true }
  }

  #consume(offset: number): void {
    if (offset <= 0) return
    this.#lineAt(offset)
    const newline = this.#buffer.lastIndexOf('\n', offset - 1)
    this.#column = newline >= 0 ? offset - newline - 1 : this.#column + offset
    this.#buffer = this.#buffer.slice(offset)
    this.#at -= offset
  }

  /** 1-based line of an offset not before the last one asked for. */
  #lineAt(offset: number): number {
    for (
      let at = this.#buffer.indexOf('\n', this.#at);
      at >= 0 && at < offset;
      at = this.#buffer.indexOf('\n', at + 1)
    ) {
      this.#line++
    }
    this.#at = Math.max(this.#at, offset)
    return this.#line
  }

  /** A problem at an offset of the buffer; `from` is where its row begins. */
  #report(offset: number, reason: string, text: string, from = offset): void {
    this.#lineAt(from)
    let line = this.#line
    for (let at = this.#buffer.indexOf('\n', from); at >= 0 && at < offset; at = this.#buffer.indexOf('\n', at + 1))
      line++
    const newline = offset > 0 ? this.#buffer.lastIndexOf('\n', offset - 1) : -1
    this.#out.problem(line, newline >= 0 ? offset - newline : this.#column + offset + 1, reason, text)
  }
}

function firstKey(text: string): string | undefined {
  return /^\{\s*"((?:[^"\\]|\\.)*)"\s*:/.exec(text.slice(0, 1000))?.[1]
}

/** Where to go on, and whether more text is needed first. */
interface Step {
  at: number
  stop?: boolean
}
