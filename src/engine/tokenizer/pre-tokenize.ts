/**
 * Cuts text into the pieces that a tokenizer's model works on, as the Rust library does it. Stands in for the JavaScript library's own
 * pre-tokenizers, which go wrong on digits such as ½, on ▁, on split behaviours and on Unicode white space. Refuses unknown types.
 */
import { SplitPreTokenizer } from '@huggingface/tokenizers'

/** Text to pieces; `atStart` is true for the piece that begins the whole text. */
export type PreTokenizer = (text: string, atStart: boolean) => string[]

type Config = { type?: string } & Record<string, unknown>
type Behaviour = 'removed' | 'isolated' | 'contiguous' | 'mergedwithprevious' | 'mergedwithnext'

/** GPT-2's pattern with White_Space in full: JavaScript's own \s counts U+FEFF in and leaves U+0085 out. */
const GPT2 =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu
/** What the Rust regex crate calls \w. */
const WORD = '[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]'
const WHITESPACE_OR_WORD = new RegExp(`${WORD}+|(?:(?!${WORD})\\P{White_Space})+`, 'gu')
const PUNCTUATION = /[\p{P}!-/:-@[-`{-~]/gu
const SPACES = /\p{White_Space}+/gu
const SPACE = /\p{White_Space}/gu

/** Byte value → the printable character that stands for it in byte-level vocabularies (GPT-2's bytes_to_unicode). */
export const BYTE_TO_CHAR: readonly string[] = byteAlphabet()

function byteAlphabet(): string[] {
  const kept = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff)
  let next = 256
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(kept(byte) ? byte : next++))
}

const encoder = new TextEncoder()

/** Text as byte-level characters: UTF-8, each byte by its stand-in. */
function toByteLevel(text: string): string {
  let out = ''
  for (const byte of encoder.encode(text)) out += BYTE_TO_CHAR[byte]
  return out
}

/** Splits by a pattern; `invert` takes what does not match as the delimiter. Follows SplitDelimiterBehavior of the Rust library. */
export function splitBy(text: string, pattern: RegExp, behaviour: Behaviour, invert = false): string[] {
  const parts: { text: string; match: boolean }[] = []
  let end = 0
  for (const found of text.matchAll(pattern)) {
    if (found[0].length === 0) continue
    if (found.index > end) parts.push({ text: text.slice(end, found.index), match: invert })
    parts.push({ text: found[0], match: !invert })
    end = found.index + found[0].length
  }
  if (end < text.length) parts.push({ text: text.slice(end), match: invert })

  switch (behaviour) {
    case 'removed':
      return parts.filter((part) => !part.match).map((part) => part.text)
    case 'isolated':
      return parts.map((part) => part.text)
    case 'contiguous':
      return join(parts, (previous, part) => previous.match === part.match)
    case 'mergedwithprevious':
      return join(parts, (previous, part) => part.match && !previous.match)
    case 'mergedwithnext':
      // The mirror image: what joins is decided from the end.
      return join(parts, (previous, part) => previous.match && !part.match)
  }
}

function join<P extends { text: string; match: boolean }>(
  parts: P[],
  joins: (previous: P, part: P) => boolean,
): string[] {
  const out: string[] = []
  parts.forEach((part, i) => {
    const previous = parts[i - 1]
    if (previous && joins(previous, part)) out[out.length - 1] += part.text
    else out.push(part.text)
  })
  return out
}

/** Builds a pre-tokenizer from its part of tokenizer.json; throws a plain Error that names an unknown type. */
export function createPreTokenizer(config: Config | null | undefined): PreTokenizer {
  if (!config) return (text) => [text]
  switch (config.type) {
    case 'Sequence': {
      const steps = (config.pretokenizers as Config[]).map(createPreTokenizer)
      return (text, atStart) =>
        steps.reduce((pieces, step) => pieces.flatMap((piece, i) => step(piece, atStart && i === 0)), [text])
    }
    case 'ByteLevel':
      return byteLevel(config)
    case 'Digits': {
      const behaviour = config.individual_digits ? 'isolated' : 'contiguous'
      return (text) => splitBy(text, /\p{N}/gu, behaviour)
    }
    case 'Metaspace':
      return metaspace(config)
    case 'Split': {
      const pattern = compile(config.pattern)
      const behaviour = behaviourOf(config.behavior ?? 'Isolated')
      const invert = config.invert === true
      return (text) => splitBy(text, pattern, behaviour, invert)
    }
    case 'Punctuation': {
      const behaviour = behaviourOf(config.behavior ?? 'Isolated')
      return (text) => splitBy(text, PUNCTUATION, behaviour)
    }
    case 'Whitespace':
      return (text) => text.match(WHITESPACE_OR_WORD) ?? []
    case 'WhitespaceSplit':
      return (text) => splitBy(text, SPACES, 'removed')
    case 'BertPreTokenizer':
      return (text) => splitBy(text, SPACE, 'removed').flatMap((piece) => splitBy(piece, PUNCTUATION, 'isolated'))
    case 'CharDelimiterSplit': {
      const pattern = compile({ String: config.delimiter })
      return (text) => splitBy(text, pattern, 'removed')
    }
    default:
      throw new Error(`the pre-tokenizer type "${String(config.type)}" is not known`)
  }
}

function byteLevel(config: Config): PreTokenizer {
  const prefix = config.add_prefix_space === true
  const useRegex = config.use_regex !== false
  return (text) => {
    const spaced = prefix && !text.startsWith(' ') ? ` ${text}` : text
    return (useRegex ? splitBy(spaced, GPT2, 'isolated') : [spaced]).map(toByteLevel)
  }
}

function metaspace(config: Config): PreTokenizer {
  const mark = typeof config.replacement === 'string' ? config.replacement : '▁'
  const pattern = compile({ String: mark })
  const legacy = config.add_prefix_space === false ? 'never' : 'always'
  const scheme = typeof config.prepend_scheme === 'string' ? config.prepend_scheme : legacy
  const split = config.split !== false
  return (text, atStart) => {
    let marked = text.replaceAll(' ', mark)
    if (!marked.startsWith(mark) && (scheme === 'always' || (scheme === 'first' && atStart))) marked = mark + marked
    return split ? splitBy(marked, pattern, 'mergedwithnext') : [marked]
  }
}

function behaviourOf(name: unknown): Behaviour {
  const key = String(name).toLowerCase()
  const known: readonly string[] = ['removed', 'isolated', 'contiguous', 'mergedwithprevious', 'mergedwithnext']
  if (!known.includes(key)) throw new Error(`the split behaviour "${String(name)}" is not known`)
  return key as Behaviour
}

/** A pattern of tokenizer.json (`{Regex}` in Oniguruma's language or `{String}`) as a JavaScript one, by the library's translation. */
function compile(pattern: unknown): RegExp {
  const { Regex: source, String: text } = (pattern ?? {}) as { Regex?: unknown; String?: unknown }
  if (typeof (source ?? text) !== 'string')
    throw new Error('a split pattern is neither a string nor a regular expression')
  const split = new SplitPreTokenizer({
    type: 'Split',
    pattern: pattern as { Regex?: string; String?: string },
    behavior: 'Isolated',
    invert: false,
  })
  return (split as unknown as { pattern: RegExp }).pattern
}
