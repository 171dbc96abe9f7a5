/**
 * Reads a model folder's tokenizer files into one description, whatever the layout: tokenizer.json, or vocab.json with merges.txt.
 * Refuses folders without a usable tokenizer with `model.tokenizer`.
 */
import { CodedError } from '../../shared/errors'
import type { FileSource } from '../../shared/files'
import { isObject } from '../../shared/json'
import type { AddedToken } from './added-tokens'

type Json = Record<string, unknown>

/** A part of tokenizer.json: its type and its own fields. */
export type Part = { type?: string } & Json

/** All that is needed to build a tokenizer. */
export interface TokenizerSpec {
  /** The file to name when something in it is wrong. */
  file: string
  model: Part
  normalizer: Part | null
  preTokenizer: Part | null
  postProcessor: Part | null
  decoder: Part | null
  addedTokens: AddedToken[]
  /** Written forms of the named special tokens, where a file names them. */
  names: { bos?: string; eos?: string; pad?: string; unk?: string }
  /** Every written form that counts as special. */
  special: Set<string>
  /** Ids from config.json and generation_config.json, used where no file names the token; ends may be several. */
  ids: { bos?: number; eos: number[]; pad?: number }
  /** `add_bos_token` and `add_eos_token`, where tokenizer_config.json states them. */
  adds: { bos?: boolean; eos?: boolean }
}

const FIX = 'Pick the whole model folder, with tokenizer.json in it (or vocab.json and merges.txt).'
/** Ids above this are not a vocabulary but a mistake. */
const MAX_ID = 1 << 24

/** The error for anything wrong with a tokenizer. */
export function tokenizerError(what: string, where: string, cause?: unknown): CodedError {
  return new CodedError('model.tokenizer', what, { where, fix: FIX, cause })
}

/** A JSON object from a folder; undefined where the file is absent. Throws `model.tokenizer` where it cannot be read as one. */
export async function readObject(
  source: FileSource,
  names: ReadonlySet<string>,
  name: string,
): Promise<Json | undefined> {
  if (!names.has(name)) return undefined
  const text = await readText(source, name)
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw tokenizerError(`${name} is not valid JSON.`, name, cause)
  }
  if (!isObject(value)) throw tokenizerError(`${name} does not hold a JSON object.`, name)
  return value
}

async function readText(source: FileSource, name: string): Promise<string> {
  const bytes = await source.read(name)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw tokenizerError(`${name} is not UTF-8 text.`, name, cause)
  }
}

/** Reads every tokenizer file of a folder. Throws CodedError `model.tokenizer`. */
export async function readTokenizerFiles(source: FileSource): Promise<TokenizerSpec> {
  const names = new Set((await source.list()).map((file) => file.name))
  const [config = {}, special = {}, model = {}, generation = {}] = await Promise.all([
    readObject(source, names, 'tokenizer_config.json'),
    readObject(source, names, 'special_tokens_map.json'),
    readObject(source, names, 'config.json'),
    readObject(source, names, 'generation_config.json'),
  ])
  const spec = (await readTokenizerJson(source, names)) ?? (await readVocabAndMerges(source, names, config, model))

  const byContent = new Map(spec.addedTokens.map((token) => [token.content, token]))
  const add = (token: AddedToken) => {
    if (!byContent.has(token.content)) byContent.set(token.content, token)
  }
  for (const token of tokensById(config.added_tokens_decoder, 'tokenizer_config.json')) add(token)
  const written = (await readObject(source, names, 'added_tokens.json')) ?? {}
  for (const [content, id] of Object.entries(written))
    add(addedToken({ content, id, normalized: true }, 'added_tokens.json'))

  const name = (key: string) => contentOf(config[key]) ?? contentOf(special[key])
  const lists = ['additional_special_tokens', 'extra_special_tokens'].flatMap((key) => [config[key], special[key]])
  const named = { bos: name('bos_token'), eos: name('eos_token'), pad: name('pad_token'), unk: name('unk_token') }
  return {
    ...spec,
    addedTokens: [...byContent.values()],
    names: named,
    special: new Set(
      [...Object.values(named), ...lists.flatMap((list) => (Array.isArray(list) ? list.map(contentOf) : []))].filter(
        (content) => content !== undefined,
      ),
    ),
    ids: {
      bos: idsOf(model.bos_token_id)[0],
      eos: [...idsOf(model.eos_token_id), ...idsOf(generation.eos_token_id)],
      pad: idsOf(model.pad_token_id)[0],
    },
    adds: {
      bos: typeof config.add_bos_token === 'boolean' ? config.add_bos_token : undefined,
      eos: typeof config.add_eos_token === 'boolean' ? config.add_eos_token : undefined,
    },
  }
}

type Core = Pick<
  TokenizerSpec,
  'file' | 'model' | 'normalizer' | 'preTokenizer' | 'postProcessor' | 'decoder' | 'addedTokens'
>

async function readTokenizerJson(source: FileSource, names: ReadonlySet<string>): Promise<Core | undefined> {
  const file = 'tokenizer.json'
  const json = await readObject(source, names, file)
  if (!json) return undefined
  const model = part(json.model, 'model', file)
  if (!model) throw tokenizerError('tokenizer.json has no "model" part.', file)
  const added = json.added_tokens ?? []
  if (!Array.isArray(added)) throw tokenizerError('"added_tokens" in tokenizer.json is not a list.', file)
  return {
    file,
    model: { ...model, type: model.type ?? guessModel(model) },
    normalizer: part(json.normalizer, 'normalizer', file),
    preTokenizer: part(json.pre_tokenizer, 'pre_tokenizer', file),
    postProcessor: part(json.post_processor, 'post_processor', file),
    decoder: part(json.decoder, 'decoder', file),
    addedTokens: added.map((token: unknown) => addedToken(token, file)),
  }
}

/** Old files leave the model's type out. */
function guessModel(model: Json): string {
  if (Array.isArray(model.vocab)) return 'Unigram'
  return 'merges' in model ? 'BPE' : 'WordPiece'
}

/** Qwen's pattern, as in transformers' Qwen2Tokenizer. */
export const QWEN_PATTERN =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/** Byte-level vocabularies in two files, as GPT-2 and Qwen publish them; the pre-tokenizer follows from the family. */
async function readVocabAndMerges(
  source: FileSource,
  names: ReadonlySet<string>,
  config: Json,
  modelConfig: Json,
): Promise<Core> {
  const file = 'vocab.json'
  const vocab = await readObject(source, names, file)
  if (!vocab || !names.has('merges.txt')) {
    if (names.has('tokenizer.model'))
      throw new CodedError('model.tokenizer', 'This folder has only a SentencePiece file, tokenizer.model.', {
        where: 'tokenizer.model',
        fix: 'Load the model once with transformers and save it again: save_pretrained writes the tokenizer.json that is needed.',
      })
    throw tokenizerError('There is no tokenizer in this folder.', 'tokenizer.json')
  }
  const merges = (await readText(source, 'merges.txt'))
    .split(/\r?\n/)
    .filter((line, i) => line !== '' && !(i === 0 && line.startsWith('#version')))
  if (!Object.keys(vocab).some((token) => token.startsWith('Ġ')))
    throw tokenizerError('vocab.json is not a byte-level vocabulary, and no tokenizer.json says how to read it.', file)
  const qwen = /^qwen/i.test(String(config.tokenizer_class ?? modelConfig.model_type ?? ''))
  const prefix = config.add_prefix_space === true
  return {
    file,
    model: { type: 'BPE', vocab, merges, unk_token: null, fuse_unk: false, byte_fallback: false },
    normalizer: qwen ? { type: 'NFC' } : null,
    preTokenizer: qwen
      ? {
          type: 'Sequence',
          pretokenizers: [
            { type: 'Split', pattern: { Regex: QWEN_PATTERN }, behavior: 'Isolated', invert: false },
            { type: 'ByteLevel', add_prefix_space: prefix, use_regex: false },
          ],
        }
      : { type: 'ByteLevel', add_prefix_space: prefix, use_regex: true },
    postProcessor: null,
    decoder: { type: 'ByteLevel' },
    addedTokens: [],
  }
}

function part(value: unknown, name: string, file: string): Part | null {
  if (value === null || value === undefined) return null
  if (!isObject(value)) throw tokenizerError(`"${name}" in ${file} is not an object.`, file)
  return value
}

function addedToken(value: unknown, file: string): AddedToken {
  if (!isObject(value) || typeof value.content !== 'string' || !isId(value.id) || value.content === '')
    throw tokenizerError(`An added token in ${file} has no text or no usable id.`, file)
  const special = value.special === true
  return {
    id: value.id,
    content: value.content,
    single_word: value.single_word === true,
    lstrip: value.lstrip === true,
    rstrip: value.rstrip === true,
    normalized: typeof value.normalized === 'boolean' ? value.normalized : !special,
    special,
  }
}

function tokensById(value: unknown, file: string): AddedToken[] {
  if (!isObject(value)) return []
  return Object.entries(value).map(([id, token]) =>
    addedToken(isObject(token) ? { ...token, id: Number(id) } : null, file),
  )
}

/** Whether a value can be a token's id. */
export function isId(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < MAX_ID
}

function idsOf(value: unknown): number[] {
  return (Array.isArray(value) ? value : [value]).filter(isId)
}

/** A token's written form: a string, or an object with `content`. */
function contentOf(value: unknown): string | undefined {
  const content = isObject(value) ? value.content : value
  return typeof content === 'string' && content !== '' ? content : undefined
}

/** The special tokens that a file names, `eos_token` and the like, as text; lists stay lists. */
export function tokenNames(file: Json): Record<string, string | string[]> {
  const out: Record<string, string | string[]> = {}
  for (const [key, value] of Object.entries(file)) {
    if (!/^(\w+_token|\w+_special_tokens)$/.test(key)) continue
    const content = contentOf(value)
    if (content !== undefined) out[key] = content
    else if (Array.isArray(value)) out[key] = value.map(contentOf).filter((one) => one !== undefined)
  }
  return out
}
