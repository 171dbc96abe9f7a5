/**
 * Bytes to text: UTF-8 (or UTF-16 with its mark). Where bytes are not, says which one was the first and goes on with U+FFFD in their
 * place, so that the rows they stand in can be set aside. Refuses to guess another encoding.
 */
import { CodedError } from '../../shared/errors'

export class Decoder {
  /** The first bytes that were no UTF-8; undefined where all are well. */
  fault: CodedError | undefined
  readonly #name: string
  #decoder: TextDecoder | undefined
  #bytes = 0
  #lines = 1
  /** The last bytes of the chunk before, where a character may have begun. */
  #tail = new Uint8Array(0)

  constructor(name: string) {
    this.#name = name
  }

  /** Text of the next bytes. @throws CodedError `data.not-utf8` where UTF-16 is not well formed. */
  push(chunk: Uint8Array): string {
    this.#decoder ??=
      chunk[0] === 0xff && chunk[1] === 0xfe
        ? utf16('utf-16le')
        : chunk[0] === 0xfe && chunk[1] === 0xff
          ? utf16('utf-16be')
          : new TextDecoder('utf-8', { fatal: true })
    let text: string
    try {
      text = this.#decoder.decode(chunk, { stream: true })
    } catch {
      text = this.#mend(chunk)
    }
    this.#bytes += chunk.length
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) this.#lines++
    const kept = joined(this.#tail, chunk.subarray(-3)).slice(-3)
    this.#tail = kept
    return text
  }

  /** The rest. */
  end(): string {
    try {
      return this.#decoder?.decode() ?? ''
    } catch {
      this.fault ??= this.#error(this.#bytes, this.#lines, 'the file ends in half a character')
      return '\ufffd'
    }
  }

  /** From the first fault on another decoder works, which puts U+FFFD where bytes mean nothing. */
  #mend(chunk: Uint8Array): string {
    const { error, carried } = this.#find(chunk)
    if (this.#decoder?.encoding !== 'utf-8') throw error
    this.fault = error
    this.#decoder = new TextDecoder('utf-8', { ignoreBOM: this.#bytes > 0 })
    return this.#decoder.decode(joined(carried, chunk), { stream: true })
  }

  #find(chunk: Uint8Array): { error: CodedError; carried: Uint8Array } {
    // The character may have begun in the chunk before: look from there, on a boundary.
    let from = this.#tail.length
    for (let back = 1; back <= this.#tail.length; back++) {
      const byte = this.#tail[this.#tail.length - back] as number
      if (byte < 0x80) break
      if (byte >= 0xc0) {
        const needs = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2
        if (needs > back) from = this.#tail.length - back
        break
      }
    }
    const carried = this.#tail.subarray(from)
    const bytes = joined(carried, chunk)
    const at = firstInvalid(bytes)
    let line = this.#lines
    for (let i = bytes.indexOf(10); i >= 0 && i < at; i = bytes.indexOf(10, i + 1)) line++
    const offset = this.#bytes - carried.length + at
    const error = this.#error(offset, line, `the byte 0x${(bytes[at] ?? 0).toString(16).padStart(2, '0')}`)
    return { error, carried }
  }

  #error(offset: number, line: number, what: string): CodedError {
    return new CodedError('data.not-utf8', `The file is not UTF-8 text: ${what} cannot stand at byte ${offset}.`, {
      where: `${this.#name}, line ${line}, byte ${offset}`,
      fix: 'Save it again with the encoding UTF-8 (in a spreadsheet: "CSV UTF-8").',
    })
  }
}

function utf16(encoding: 'utf-16le' | 'utf-16be'): TextDecoder {
  return new TextDecoder(encoding, { fatal: true })
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length)
  both.set(a)
  both.set(b, a.length)
  return both
}

/** Offset of the first byte that begins no well-formed UTF-8 character (Unicode 15, table 3-7). */
function firstInvalid(bytes: Uint8Array): number {
  let i = 0
  while (i < bytes.length) {
    const lead = bytes[i] as number
    const length =
      lead < 0x80
        ? 1
        : lead >= 0xc2 && lead < 0xe0
          ? 2
          : lead >= 0xe0 && lead < 0xf0
            ? 3
            : lead >= 0xf0 && lead < 0xf5
              ? 4
              : 0
    if (length === 0) return i
    for (let k = 1; k < length; k++) {
      const byte = bytes[i + k]
      const low = k === 1 && lead === 0xe0 ? 0xa0 : k === 1 && lead === 0xf0 ? 0x90 : 0x80
      const high = k === 1 && lead === 0xed ? 0x9f : k === 1 && lead === 0xf4 ? 0x8f : 0xbf
      if (byte === undefined || byte < low || byte > high) return i
    }
    i += length
  }
  return i
}
