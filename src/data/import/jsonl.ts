/** One JSON value a line. Refuses to let a broken line touch its neighbours. */
import type { Collector, TextParser } from './collector'
import { findJsonFault } from './json-error'

/** Characters after which a line without an end is given up. */
const LONGEST_LINE = 256 * 1024 * 1024

export class JsonlParser implements TextParser {
  readonly #out: Collector
  #parts: string[] = []
  #pending = 0
  #line = 1

  constructor(out: Collector) {
    this.#out = out
  }

  push(text: string): void {
    let start = 0
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', start)) {
      let line = text.slice(start, end)
      if (this.#parts.length > 0) {
        line = this.#parts.join('') + line
        this.#parts = []
        this.#pending = 0
      }
      this.#read(line)
      this.#line++
      start = end + 1
    }
    if (start === text.length) return
    this.#parts.push(start === 0 ? text : text.slice(start))
    this.#pending += text.length - start
    if (this.#pending > LONGEST_LINE) {
      this.#out.problem(this.#line, undefined, 'The line is longer than 256 MB.', this.#parts[0] as string)
      this.#parts = []
      this.#pending = 0
    }
  }

  end(): void {
    if (this.#parts.length > 0) this.#read(this.#parts.join(''))
    this.#parts = []
  }

  #read(line: string): void {
    if (isBlank(line)) return
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch {
      const fault = findJsonFault(line)
      this.#out.problem(this.#line, (fault?.offset ?? 0) + 1, fault?.reason ?? 'The line is not JSON.', line.trim())
      return
    }
    this.#out.value(value, this.#line)
  }
}

function isBlank(line: string): boolean {
  return line.length < 64 && line.trim() === ''
}
