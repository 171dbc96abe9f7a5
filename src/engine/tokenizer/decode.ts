/**
 * Tokens back to text, piece by piece, as the Rust library's decoders do it; every stage can be fed one token at a time and never lets
 * half a character out. Refuses to tidy spaces before punctuation: decode(encode(x)) stays x.
 */
import { BYTE_TO_CHAR } from './pre-tokenize'

type Config = { type?: string } & Record<string, unknown>

/** A stretch of text on its way through; `opens` is true where a new token starts, false where it continues the one before. */
interface Piece {
  text: string
  opens: boolean
}

interface Stage {
  push(piece: Piece): Piece[]
  end(): Piece[]
}

/** A chain of stages for one text. */
export interface Decoding {
  push(token: string): string
  end(): string
}

/**
 * Compiles the decoder part of tokenizer.json. The result starts a decoding. `strict` replaces a whole run of byte tokens that is not
 * valid UTF-8, as the Rust library does, and so has to wait for the run's end; without it, characters come out as they complete.
 */
export function createDecoder(config: Config | null | undefined): (strict: boolean) => Decoding {
  const make = config ? stages(config) : [() => spaced()]
  return (strict) => {
    const chain = make.map((stage) => stage(strict))
    const through = (pieces: Piece[], from: number) =>
      chain.slice(from).reduce((now, stage) => now.flatMap((piece) => stage.push(piece)), pieces)
    const text = (pieces: Piece[]) => pieces.map((piece) => piece.text).join('')
    return {
      push: (token) => text(through([{ text: token, opens: true }], 0)),
      end: () => text(chain.flatMap((stage, i) => through(stage.end(), i + 1))),
    }
  }
}

/** Decoder types whose output is one token in parts. */
const FUSING: readonly unknown[] = ['Fuse', 'ByteLevel', 'ByteFallback']

function stages(config: Config, fused = false): ((strict: boolean) => Stage)[] {
  switch (config.type) {
    case 'Sequence': {
      const decoders = config.decoders as Config[]
      return decoders.flatMap((one, i) =>
        stages(
          one,
          decoders.slice(0, i).some((earlier) => FUSING.includes(earlier.type)),
        ),
      )
    }
    case 'ByteLevel':
      return [byteLevel]
    case 'ByteFallback':
      return [byteFallback]
    case 'Fuse':
      return [fuse]
    case 'Metaspace':
      return [() => metaspace(config)]
    case 'Replace':
      return [() => replace(config, fused)]
    case 'Strip':
      return [() => strip(String(config.content ?? ' '), Number(config.start ?? 0), Number(config.stop ?? 0))]
    case 'WordPiece':
      return [() => wordPiece(String(config.prefix ?? '##'), config.cleanup !== false)]
    case 'BPEDecoder':
      return [() => bpe(String(config.suffix ?? '</w>'))]
    default:
      throw new Error(`the decoder type "${String(config.type)}" is not known`)
  }
}

/** Nothing to do at the end. */
const none = (): Piece[] => []
/** A stage that looks at whole tokens one by one; `first` is true for the first of the text. */
function perToken(change: (text: string, first: boolean) => string): Stage {
  let first = true
  return {
    push: ({ text }) => {
      const changed = change(text, first)
      first = false
      return [{ text: changed, opens: true }]
    },
    end: none,
  }
}

/** Without a decoder, tokens are joined by spaces. */
const spaced = () => perToken((text, first) => (first ? text : ` ${text}`))

const CHAR_TO_BYTE = new Map(BYTE_TO_CHAR.map((char, byte) => [char, byte]))
const encoder = new TextEncoder()

function bytesOf(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length)
  let length = 0
  for (const char of token) {
    const byte = CHAR_TO_BYTE.get(char)
    // An added token that is not in the byte alphabet stands for itself.
    if (byte === undefined) return encoder.encode(token)
    bytes[length++] = byte
  }
  return bytes.subarray(0, length)
}

function byteLevel(): Stage {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  let opens = true
  const out = (text: string): Piece[] => {
    if (!text) return []
    const piece = { text, opens }
    opens = false
    return [piece]
  }
  return { push: ({ text }) => out(decoder.decode(bytesOf(text), { stream: true })), end: () => out(decoder.decode()) }
}

const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2})>$/

function byteFallback(strict: boolean): Stage {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  let run: number[] = []
  let shown = false
  const piece = (text: string): Piece[] => {
    if (!text) return []
    const opens = !shown
    shown = true
    return [{ text, opens }]
  }
  const close = (): Piece[] => {
    if (run.length === 0) return []
    const bytes = Uint8Array.from(run)
    run = []
    if (!strict) {
      const rest = piece(decoder.decode())
      shown = false
      return rest
    }
    try {
      return [{ text: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes), opens: true }]
    } catch {
      return Array.from(bytes, () => ({ text: '\ufffd', opens: true }))
    }
  }
  return {
    push: (token) => {
      const byte = BYTE_TOKEN.exec(token.text)
      if (!byte) return [...close(), token]
      run.push(parseInt(byte[1]!, 16))
      return strict ? [] : piece(decoder.decode(Uint8Array.of(run[run.length - 1]!), { stream: true }))
    },
    end: close,
  }
}

function fuse(): Stage {
  let opens = true
  return {
    push: ({ text }) => {
      const piece = { text, opens }
      opens = false
      return [piece]
    },
    end: none,
  }
}

/** In the first token the mark is the prefix that encoding added, and goes; elsewhere it is a space. */
function metaspace(config: Config): Stage {
  const mark = typeof config.replacement === 'string' ? config.replacement : '▁'
  const legacy = config.add_prefix_space === false ? 'never' : 'always'
  const keeps = (config.prepend_scheme ?? legacy) === 'never'
  return perToken((text, first) => text.replaceAll(mark, first && !keeps ? '' : ' '))
}

/** After a fuse, a pattern of several characters may lie across two parts, so the text waits for its end. */
function replace(config: Config, fused: boolean): Stage {
  const { String: plain, Regex: source } = (config.pattern ?? {}) as { String?: string; Regex?: string }
  const content = String(config.content ?? '')
  const pattern = plain ?? new RegExp(source ?? '', 'gu')
  const change = (text: string) => text.replaceAll(pattern, () => content)
  if (!fused || plain?.length === 1) {
    return { push: ({ text, opens }) => [{ text: change(text), opens }], end: none }
  }
  let held = ''
  return {
    push: ({ text }) => {
      held += text
      return []
    },
    end: () => [{ text: change(held), opens: true }],
  }
}

/** Takes up to `start` and `stop` copies of `content` off the two ends of every token. */
function strip(content: string, start: number, stop: number): Stage {
  let left = start
  let tail = ''
  const flush = (): string => {
    let cut = tail.length
    for (let i = 0; i < stop && cut > 0 && tail[cut - 1] === content; i++) cut--
    const text = tail.slice(0, cut)
    tail = ''
    return text
  }
  return {
    push: ({ text, opens }) => {
      const before = opens ? flush() : ''
      if (opens) left = start
      let from = 0
      while (left > 0 && text[from] === content) {
        from++
        left--
      }
      if (from < text.length) left = 0
      tail += text.slice(from)
      // What could still turn out to be the end waits.
      let wait = 0
      while (wait < stop && wait < tail.length && tail[tail.length - 1 - wait] === content) wait++
      const out = tail.slice(0, tail.length - wait)
      tail = tail.slice(tail.length - wait)
      return [...(before ? [{ text: before, opens: false }] : []), { text: out, opens }]
    },
    end: () => {
      const text = flush()
      return text ? [{ text, opens: false }] : []
    },
  }
}

function wordPiece(prefix: string, cleanup: boolean): Stage {
  return perToken((text, first) => {
    const word = first ? text : text.startsWith(prefix) ? text.slice(prefix.length) : ` ${text}`
    return cleanup ? tidy(word) : word
  })
}

function tidy(text: string): string {
  const pairs = [
    [' .', '.'],
    [' ?', '?'],
    [' !', '!'],
    [' ,', ','],
    [" ' ", "'"],
    [" n't", "n't"],
    [" 'm", "'m"],
    [' do not', " don't"],
    [" 's", "'s"],
    [" 've", "'ve"],
    [" 're", "'re"],
  ] as const
  return pairs.reduce((now, [from, to]) => now.replaceAll(from, to), text)
}

/** The suffix marks the end of a word: a space, except at the end of the text. */
function bpe(suffix: string): Stage {
  let held: string | null = null
  return {
    push: ({ text }) => {
      const out = held === null ? [] : [{ text: held.replaceAll(suffix, ' '), opens: true }]
      held = text
      return out
    },
    end: () => (held === null ? [] : [{ text: held.replaceAll(suffix, ''), opens: true }]),
  }
}
