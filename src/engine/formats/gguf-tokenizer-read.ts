/**
 * The tokenizer of a GGUF file as the tokenizer.json and tokenizer_config.json that it was made from, for the engine's own reader.
 * Refuses kinds and ways of splitting that are not known here, rather than cutting text otherwise than the model learnt it.
 */
import { CodedError } from '../../shared/errors'
import { QWEN_PATTERN } from '../tokenizer/files'
import { LLAMA3_PATTERN, TOKEN_TYPES } from './gguf-tokenizer'

type Metadata = ReadonlyMap<string, unknown>
type Json = Record<string, unknown>

const byteLevel = (useRegex: boolean): Json => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
})
const split = (pattern: string): Json => ({
  type: 'Sequence',
  pretokenizers: [
    { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false },
    byteLevel(false),
  ],
})
const digits: Json = {
  type: 'Sequence',
  pretokenizers: [{ type: 'Digits', individual_digits: true }, byteLevel(true)],
}

/** How byte-level models cut text, by llama.cpp's names; whether a whole word in the vocabulary is taken as it is. */
const SPLITS: Readonly<Record<string, { part: Json; wholeWords?: true; nfc?: true; begins?: true }>> = {
  'gpt-2': { part: byteLevel(true) },
  'phi-2': { part: byteLevel(true) },
  'llama-bpe': { part: split(LLAMA3_PATTERN), wholeWords: true, begins: true },
  llama3: { part: split(LLAMA3_PATTERN), wholeWords: true, begins: true },
  'llama-v3': { part: split(LLAMA3_PATTERN), wholeWords: true, begins: true },
  dbrx: { part: split(LLAMA3_PATTERN) },
  'smaug-bpe': { part: split(LLAMA3_PATTERN) },
  qwen2: { part: split(QWEN_PATTERN), nfc: true },
  'deepseek-r1-qwen': { part: split(QWEN_PATTERN), nfc: true },
  smollm: { part: digits },
  starcoder: { part: digits },
  refact: { part: digits },
}

function wrong(what: string, where: string, fix = 'Take the same model in Hugging Face layout.'): CodedError {
  return new CodedError('model.tokenizer', what, { where, fix })
}

function list<T>(metadata: Metadata, key: string, check: (value: unknown) => value is T): T[] {
  const value = metadata.get(key)
  if (Array.isArray(value) && value.length > 0 && value.every(check)) return value
  throw wrong(`The file has no usable ${key}.`, key)
}
const isText = (value: unknown): value is string => typeof value === 'string'
const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value)

/** The two files, as objects. @throws CodedError `model.tokenizer` */
export function readGgufTokenizer(metadata: Metadata): { tokenizer: Json; config: Json } {
  const kind = metadata.get('tokenizer.ggml.model')
  if (kind !== 'gpt2' && kind !== 'llama')
    throw wrong(`Tokenizers of the kind ${JSON.stringify(kind ?? null)} cannot be read.`, 'tokenizer.ggml.model')
  const tokens = list(metadata, 'tokenizer.ggml.tokens', isText)
  const types = metadata.has('tokenizer.ggml.token_type')
    ? list(metadata, 'tokenizer.ggml.token_type', isNumber)
    : tokens.map(() => TOKEN_TYPES.normal)
  if (types.length !== tokens.length)
    throw wrong(`${tokens.length} tokens have ${types.length} types.`, 'tokenizer.ggml.token_type')
  const vocab = vocabularyOf(tokens, types)
  const parts = kind === 'gpt2' ? byteLevelParts(metadata, vocab) : sentencePieceParts(metadata, tokens, types, vocab)
  const special: readonly number[] = [TOKEN_TYPES.control, TOKEN_TYPES.unknown]
  const added = tokens.flatMap((content, id) => {
    const type = types[id] as number
    if (content === '' || !(special.includes(type) || type === TOKEN_TYPES.userDefined)) return []
    const plain = { single_word: false, lstrip: false, rstrip: false, normalized: false }
    return [{ id, content, ...plain, special: special.includes(type) }]
  })
  const { model, normalizer, preTokenizer, decoder, begins } = parts
  return {
    tokenizer: {
      ...{ version: '1.0', truncation: null, padding: null, added_tokens: added, normalizer },
      ...{ pre_tokenizer: preTokenizer, post_processor: null, decoder, model },
    },
    config: configOf(metadata, tokens, begins),
  }
}

/** Written form → id; placeholders for ids without a token are left out. */
function vocabularyOf(tokens: readonly string[], types: readonly number[]): Record<string, number> {
  const ids = new Map<string, number>()
  tokens.forEach((token, id) => {
    if (types[id] === TOKEN_TYPES.unused) return
    if (ids.has(token)) throw wrong(`The token ${JSON.stringify(token)} has two ids.`, 'tokenizer.ggml.tokens')
    ids.set(token, id)
  })
  return Object.fromEntries(ids)
}

interface Parts {
  model: Json
  normalizer: Json | null
  preTokenizer: Json | null
  decoder: Json
  /** Whether texts begin with bos where the file does not say. */
  begins: boolean
}

function byteLevelParts(metadata: Metadata, vocab: Record<string, number>): Parts {
  const name = String(metadata.get('tokenizer.ggml.pre') ?? 'default')
  const found = Object.hasOwn(SPLITS, name) ? SPLITS[name] : undefined
  if (!found)
    throw wrong(
      `How this tokenizer cuts text ("${name}") is not known here.`,
      'tokenizer.ggml.pre',
      `Take the same model in Hugging Face layout. Known: ${Object.keys(SPLITS).join(', ')}.`,
    )
  const merges = list(metadata, 'tokenizer.ggml.merges', isText)
  return {
    model: { ...bpe(vocab, merges, null), byte_fallback: false, ignore_merges: found.wholeWords ?? false },
    normalizer: found.nfc ? { type: 'NFC' } : null,
    preTokenizer: found.part,
    decoder: byteLevel(true),
    begins: found.begins ?? false,
  }
}

function sentencePieceParts(
  metadata: Metadata,
  tokens: readonly string[],
  types: readonly number[],
  vocab: Record<string, number>,
): Parts {
  const scores = list(metadata, 'tokenizer.ggml.scores', isNumber)
  if (scores.length !== tokens.length)
    throw wrong(`${tokens.length} tokens have ${scores.length} scores.`, 'tokenizer.ggml.scores')
  const unknownId = metadata.get('tokenizer.ggml.unknown_token_id')
  const unknown = tokens[typeof unknownId === 'number' ? unknownId : types.indexOf(TOKEN_TYPES.unknown)]
  const prefix = metadata.get('tokenizer.ggml.add_space_prefix') !== false
  const merges = mergesFromScores(tokens, types, scores, vocab)
  const space = { type: 'Replace', pattern: { String: ' ' }, content: '▁' }
  const strip = prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []
  return {
    model: { ...bpe(vocab, merges, unknown ?? null), fuse_unk: true, byte_fallback: true, ignore_merges: false },
    normalizer: { type: 'Sequence', normalizers: [...(prefix ? [{ type: 'Prepend', prepend: '▁' }] : []), space] },
    preTokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...strip,
      ],
    },
    begins: true,
  }
}

function bpe(vocab: Record<string, number>, merges: readonly unknown[], unknown: string | null): Json {
  return { type: 'BPE', dropout: null, unk_token: unknown, fuse_unk: false, vocab, merges }
}

/**
 * Which pairs join, best first: SentencePiece joins the pair whose whole has the highest score, whatever the pair (as transformers'
 * converters do it).
 */
function mergesFromScores(
  tokens: readonly string[],
  types: readonly number[],
  scores: readonly number[],
  vocab: Readonly<Record<string, number>>,
): [string, string][] {
  const found: { left: string; right: string; score: number; order: number }[] = []
  tokens.forEach((token, id) => {
    if (types[id] !== TOKEN_TYPES.normal) return
    const chars = [...token]
    for (let cut = 1; cut < chars.length; cut++) {
      const [left, right] = [chars.slice(0, cut).join(''), chars.slice(cut).join('')]
      if (!Object.hasOwn(vocab, left) || !Object.hasOwn(vocab, right)) continue
      found.push({ left, right, score: scores[id] as number, order: found.length })
    }
  })
  found.sort((a, b) => b.score - a.score || a.order - b.order)
  return found.map(({ left, right }) => [left, right])
}

function configOf(metadata: Metadata, tokens: readonly string[], begins: boolean): Json {
  const name = (key: string): string | undefined => {
    const id = metadata.get(`tokenizer.ggml.${key}_token_id`)
    return typeof id === 'number' ? tokens[id] : undefined
  }
  const flag = (key: string, fallback: boolean): boolean => {
    const value = metadata.get(`tokenizer.ggml.${key}`)
    return typeof value === 'boolean' ? value : fallback
  }
  const template = metadata.get('tokenizer.chat_template')
  const fields: Json = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    bos_token: name('bos'),
    eos_token: name('eos'),
    unk_token: name('unknown'),
    pad_token: name('padding'),
    add_bos_token: flag('add_bos_token', begins),
    add_eos_token: flag('add_eos_token', false),
    chat_template: typeof template === 'string' ? template : undefined,
  }
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
}
