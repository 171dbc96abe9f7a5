/**
 * A tokenizer as GGUF metadata, for llama.cpp. Refuses kinds of tokenizer that llama.cpp would read as something else.
 */
import { CodedError } from '../../shared/errors'
import type { Tokenizer } from '../tokenizer'
import { QWEN_PATTERN, type Part, type TokenizerSpec } from '../tokenizer/files'
import type { GgufMetadata, GgufValue } from './gguf-write'

/** Token types of llama.cpp. */
export const TOKEN_TYPES = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const

const text = (value: string): GgufValue => ({ type: 'string', value })
const flag = (value: boolean): GgufValue => ({ type: 'bool', value })
const id = (value: number): GgufValue => ({ type: 'u32', value })

/**
 * `tokenizer.*` entries for a vocabulary of `size` (the rows of the embedding; ids without a token get placeholders).
 * Throws CodedError `model.tokenizer`.
 */
export function ggufTokenizer(
  spec: TokenizerSpec,
  tokenizer: Tokenizer,
  size: number,
  chatTemplate: string | undefined,
): GgufMetadata {
  const byteLevel = parts(spec.preTokenizer).some((part) => part.type === 'ByteLevel')
  if (spec.model.type !== 'BPE' || !(byteLevel || isSentencePiece(spec)))
    throw new CodedError('model.tokenizer', 'This kind of tokenizer cannot be written into a GGUF file.', {
      where: spec.file,
      fix: 'Export the merged model or the PEFT adapter instead.',
    })
  const { tokens, types } = vocabulary(spec, tokenizer, size, byteLevel)
  const merges = (spec.model.merges as (string | [string, string])[]).map((merge) =>
    // A space inside a token would look like the gap between two.
    typeof merge === 'string' ? merge : merge.map((side) => side.replaceAll(' ', 'Ġ')).join(' '),
  )
  const begins = tokenizer.encode('')
  const kind: GgufMetadata = byteLevel
    ? [
        ['tokenizer.ggml.model', text('gpt2')],
        ['tokenizer.ggml.pre', text(preTokenizer(spec))],
        ['tokenizer.ggml.tokens', { type: 'array', of: 'string', value: tokens }],
        ['tokenizer.ggml.token_type', { type: 'array', of: 'i32', value: types }],
        ['tokenizer.ggml.merges', { type: 'array', of: 'string', value: merges }],
      ]
    : [
        ['tokenizer.ggml.model', text('llama')],
        ['tokenizer.ggml.pre', text('default')],
        ['tokenizer.ggml.tokens', { type: 'array', of: 'string', value: tokens }],
        ['tokenizer.ggml.scores', { type: 'array', of: 'f32', value: scores(tokens, merges) }],
        ['tokenizer.ggml.token_type', { type: 'array', of: 'i32', value: types }],
        ['tokenizer.ggml.add_space_prefix', flag(addsSpace(spec))],
      ]
  const unknown = typeof spec.model.unk_token === 'string' ? tokenizer.idOf(spec.model.unk_token) : undefined
  const known = [
    ['bos', tokenizer.bosId],
    ['eos', tokenizer.eosId],
    ['padding', tokenizer.padId],
    ['unknown', unknown ?? null],
  ] as const
  return [
    ...kind,
    ...known.flatMap(([name, value]) =>
      value === null ? [] : [[`tokenizer.ggml.${name}_token_id`, id(value)] as const],
    ),
    ['tokenizer.ggml.add_bos_token', flag(tokenizer.bosId !== null && begins[0] === tokenizer.bosId)],
    [
      'tokenizer.ggml.add_eos_token',
      flag(begins.length > 0 && begins.at(-1) === tokenizer.eosId && begins.at(-1) !== begins[0]),
    ],
    ...(chatTemplate === undefined ? [] : [['tokenizer.chat_template', text(chatTemplate)] as const]),
  ]
}

function vocabulary(
  spec: TokenizerSpec,
  tokenizer: Tokenizer,
  size: number,
  byteLevel: boolean,
): { tokens: string[]; types: number[] } {
  const tokens = Array.from({ length: size }, (_, i) => tokenizer.tokenOf(i) ?? `[PAD${i}]`)
  const types = tokens.map((token, i): number => {
    if (tokenizer.tokenOf(i) === undefined) return TOKEN_TYPES.unused
    if (!byteLevel && /^<0x[0-9A-F]{2}>$/.test(token)) return TOKEN_TYPES.byte
    return token === spec.model.unk_token && !byteLevel ? TOKEN_TYPES.unknown : TOKEN_TYPES.normal
  })
  for (const token of spec.addedTokens) {
    if (token.id >= size || types[token.id] === TOKEN_TYPES.unknown) continue
    types[token.id] = tokenizer.specialIds.has(token.id) ? TOKEN_TYPES.control : TOKEN_TYPES.userDefined
  }
  return { tokens, types }
}

/**
 * llama.cpp joins the pair whose whole has the highest score; SentencePiece's scores fall with the order of merges, so that order gives
 * the same result.
 */
function scores(tokens: readonly string[], merges: readonly string[]): number[] {
  const order = new Map<string, number>()
  merges.forEach((merge, rank) => {
    const whole = merge.replace(' ', '')
    if (!order.has(whole)) order.set(whole, rank)
  })
  return tokens.map((token) => -(order.get(token) ?? merges.length))
}

/** A part of tokenizer.json and the parts inside it. */
function parts(part: Part | null): Part[] {
  if (!part) return []
  const inner = ['pretokenizers', 'normalizers', 'decoders'].flatMap((key) => (part[key] as Part[] | undefined) ?? [])
  return [part, ...inner.flatMap(parts)]
}

/** Spaces become ▁, by a normaliser or by Metaspace. */
function isSentencePiece(spec: TokenizerSpec): boolean {
  return [...parts(spec.normalizer), ...parts(spec.preTokenizer)].some(
    (part) => part.type === 'Metaspace' || (part.type === 'Replace' && part.content === '▁'),
  )
}

function addsSpace(spec: TokenizerSpec): boolean {
  const all = [...parts(spec.normalizer), ...parts(spec.preTokenizer)]
  const metaspace = all.find((part) => part.type === 'Metaspace')
  if (metaspace) return metaspace.prepend_scheme !== 'never' && metaspace.add_prefix_space !== false
  return all.some((part) => part.type === 'Prepend')
}

/** Llama 3's way of splitting, which others took over. */
export const LLAMA3_PATTERN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
/** GPT-2's way of splitting, where it is spelt out. */
const GPT2_PATTERN = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
const KNOWN_PARTS: ReadonlySet<string> = new Set(['Sequence', 'Split', 'Digits', 'ByteLevel'])

/** llama.cpp's name for the way text is split. Throws CodedError `model.tokenizer` where it has none: it would cut other tokens. */
function preTokenizer({ preTokenizer: part, model, file }: TokenizerSpec): string {
  const all = parts(part)
  const patterns = all.filter(({ type }) => type === 'Split').map((one) => (one.pattern as { Regex?: string }).Regex)
  const digits = all.filter(({ type }) => type === 'Digits')
  const words = all.some((one) => one.type === 'ByteLevel' && one.use_regex !== false)
  if (all.every(({ type }) => KNOWN_PARTS.has(String(type))) && digits.every((one) => one.individual_digits === true)) {
    const [pattern] = patterns
    if (patterns.length === 0 && words) return digits.length > 0 ? 'smollm' : 'gpt-2'
    if (patterns.length === 1 && digits.length === 0 && !words) {
      if (pattern === LLAMA3_PATTERN) return model.ignore_merges === true ? 'llama-bpe' : 'dbrx'
      if (pattern === QWEN_PATTERN) return 'qwen2'
      if (pattern === GPT2_PATTERN) return 'gpt-2'
    }
  }
  throw new CodedError('model.tokenizer', 'llama.cpp has no name for the way this tokenizer splits text.', {
    where: `${file}, pre_tokenizer`,
    fix: 'Export the merged model: llama.cpp’s own converter may know it. A GGUF file from here would cut other tokens.',
  })
}
