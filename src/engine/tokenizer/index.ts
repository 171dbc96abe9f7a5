/**
 * Text to token ids and back, from a model folder's own files, equal to the Rust library. Normalisers, Unigram and WordPiece models and
 * the translation of patterns are @huggingface/tokenizers; added tokens, pre-tokenizers and decoders are ours, because that library
 * differs from the Rust one there, and byte-pair encoding for speed.
 * Refuses folders without a usable tokenizer with CodedError `model.tokenizer`, and truncation or padding that a file asks for.
 */
import { Tokenizer as Library } from '@huggingface/tokenizers'
import type { FileSource } from '../../shared/files'
import { CodedError } from '../../shared/errors'
import { AddedTokenSplitter, type AddedToken } from './added-tokens'
import { Bpe, type BpeConfig } from './bpe'
import { createDecoder, type Decoding } from './decode'
import { isId, readTokenizerFiles, tokenizerError, type Part, type TokenizerSpec } from './files'
import { createPreTokenizer, type PreTokenizer } from './pre-tokenize'

/** Text as it grows: `push` returns what is new, and holds back what is not yet a whole character. */
interface TokenStream {
  push(id: number): string
  /** What is left: a character that was never completed comes out as U+FFFD. */
  end(): string
}

export interface Tokenizer {
  /** Highest id + 1. */
  readonly vocabularySize: number
  readonly bosId: number | null
  readonly eosId: number | null
  readonly padId: number | null
  /** Every id that ends an answer: `eosId` and those that config.json and generation_config.json add. */
  readonly endIds: ReadonlySet<number>
  readonly specialIds: ReadonlySet<number>
  /** Ids of a text; special tokens (a leading bos, where the model has one) are added unless told otherwise. */
  encode(text: string, options?: { addSpecialTokens?: boolean }): number[]
  /** Text of ids; ids outside the vocabulary are left out. Special tokens are shown unless told otherwise. */
  decode(ids: readonly number[], options?: { skipSpecialTokens?: boolean }): string
  /** The text that each token adds; joined they are `decode(ids)`. A character of several tokens stands at the last of them. */
  pieces(ids: readonly number[]): string[]
  stream(options?: { skipSpecialTokens?: boolean }): TokenStream
  /** The written form of an id, as the vocabulary has it. */
  tokenOf(id: number): string | undefined
  /** The id of a written form. */
  idOf(token: string): number | undefined
}

/**
 * The tokenizer of a model folder: tokenizer.json, or vocab.json and merges.txt, with tokenizer_config.json, special_tokens_map.json,
 * added_tokens.json, config.json and generation_config.json where they are. Throws CodedError `model.tokenizer`.
 */
export async function loadTokenizer(source: FileSource): Promise<Tokenizer> {
  const spec = await readTokenizerFiles(source)
  try {
    return new FolderTokenizer(spec)
  } catch (error) {
    if (error instanceof CodedError) throw error
    const reason = error instanceof Error ? error.message : String(error)
    throw tokenizerError(`The tokenizer cannot be read: ${reason}.`, spec.file, error)
  }
}

/** Names that end a text, for folders in which no file says which token does. */
const USUAL_ENDS = ['<|endoftext|>', '</s>', '<|end_of_text|>', '<eos>', '<|im_end|>']

class FolderTokenizer implements Tokenizer {
  readonly vocabularySize: number
  readonly bosId: number | null
  readonly eosId: number | null
  readonly padId: number | null
  readonly endIds: ReadonlySet<number>
  readonly specialIds: ReadonlySet<number>

  private readonly tokens: (string | undefined)[]
  private readonly ids: ReadonlyMap<string, number>
  private readonly normalise: (text: string) => string
  private readonly encodeWord: (word: string) => readonly number[]
  private readonly preTokenise: PreTokenizer
  private readonly raw: AddedTokenSplitter
  private readonly normalised: AddedTokenSplitter
  private readonly prefix: readonly number[]
  private readonly suffix: readonly number[]
  private readonly decoding: (strict: boolean) => Decoding

  constructor(spec: TokenizerSpec) {
    this.normalise = createNormalizer(spec.normalizer)
    const { vocabulary, encode } = createModel(spec.model)
    this.encodeWord = encode
    this.ids = vocabulary
    this.preTokenise = createPreTokenizer(spec.preTokenizer)
    this.decoding = createDecoder(spec.decoder)

    this.tokens = []
    for (const [token, id] of this.ids) {
      if (!isId(id)) throw new Error(`the token "${token}" has no usable id`)
      this.tokens[id] = token
    }
    for (const token of spec.addedTokens) {
      this.tokens[token.id] = token.content
      vocabulary.set(token.content, token.id)
    }
    this.vocabularySize = this.tokens.length
    if (this.vocabularySize === 0) throw new Error('its vocabulary is empty')

    this.raw = new AddedTokenSplitter(
      spec.addedTokens.filter((token) => !token.normalized),
      (token) => token.content,
    )
    this.normalised = new AddedTokenSplitter(
      spec.addedTokens.filter((token) => token.normalized),
      (token) => this.normalise(token.content),
    )

    this.specialIds = this.findSpecial(spec)
    this.bosId = this.named(spec.names.bos) ?? this.known(spec.ids.bos)
    this.eosId = this.named(spec.names.eos) ?? this.known(spec.ids.eos[0]) ?? this.usualEnd()
    this.padId = this.named(spec.names.pad) ?? this.known(spec.ids.pad)
    this.endIds = new Set(
      [this.eosId, ...spec.ids.eos].filter((id) => id !== null && this.known(id) !== null) as number[],
    )
    const around = this.template(spec)
    this.prefix = around.prefix
    this.suffix = around.suffix
    for (const id of [...around.prefix, ...around.suffix]) {
      if (!isId(id) || this.tokens[id] === undefined)
        throw new Error(
          `its post-processor puts in the token ${JSON.stringify(id)}, which the vocabulary does not have`,
        )
    }
  }

  encode(text: string, { addSpecialTokens = true } = {}): number[] {
    const out: number[] = addSpecialTokens ? [...this.prefix] : []
    this.raw.split(text).forEach((section, i) => {
      if (section.token) out.push(section.token.id)
      else this.encodeNormalised(this.normalise(section.text), i === 0, out)
    })
    if (addSpecialTokens) out.push(...this.suffix)
    return out
  }

  decode(ids: readonly number[], { skipSpecialTokens = false } = {}): string {
    return this.walk(ids, true, skipSpecialTokens).join('')
  }

  pieces(ids: readonly number[]): string[] {
    const pieces = this.walk(ids, false, false)
    // Bytes that make no character: the strict decoding has the last word on what they look like.
    if (pieces.some((piece) => piece.includes('\ufffd'))) {
      const strict = this.walk(ids, true, false)
      if (strict.join('') !== pieces.join('')) return strict
    }
    return pieces
  }

  stream({ skipSpecialTokens = false } = {}): TokenStream {
    const decoding = this.decoding(false)
    return {
      push: (id) => {
        const token = this.tokens[id]
        return token === undefined || (skipSpecialTokens && this.specialIds.has(id)) ? '' : decoding.push(token)
      },
      end: () => decoding.end(),
    }
  }

  tokenOf(id: number): string | undefined {
    return this.tokens[id]
  }

  idOf(token: string): number | undefined {
    return this.ids.get(token)
  }

  private encodeNormalised(text: string, first: boolean, out: number[]): void {
    this.normalised.split(text).forEach((section, i) => {
      if (section.token) {
        out.push(section.token.id)
        return
      }
      for (const word of this.preTokenise(section.text, first && i === 0)) {
        for (const id of this.encodeWord(word)) out.push(id)
      }
    })
  }

  private walk(ids: readonly number[], strict: boolean, skipSpecialTokens: boolean): string[] {
    const decoding = this.decoding(strict)
    const pieces = ids.map((id) => {
      const token = this.tokens[id]
      return token === undefined || (skipSpecialTokens && this.specialIds.has(id)) ? '' : decoding.push(token)
    })
    const rest = decoding.end()
    if (rest && pieces.length > 0) pieces[pieces.length - 1] += rest
    return pieces
  }

  private named(token: string | undefined): number | null {
    return token === undefined ? null : (this.ids.get(token) ?? null)
  }

  private known(id: number | undefined): number | null {
    return id !== undefined && this.tokens[id] !== undefined ? id : null
  }

  private usualEnd(): number | null {
    for (const token of USUAL_ENDS) {
      const id = this.ids.get(token)
      if (id !== undefined && this.specialIds.has(id)) return id
    }
    return null
  }

  private findSpecial(spec: TokenizerSpec): Set<number> {
    const special = new Set(spec.addedTokens.filter((token) => token.special).map((token) => token.id))
    for (const token of spec.special) {
      const id = this.ids.get(token)
      if (id !== undefined) special.add(id)
    }
    return special
  }

  /** What stands before and after a text. An explicit add_bos_token or add_eos_token wins, as in transformers. */
  private template(spec: TokenizerSpec): { prefix: number[]; suffix: number[] } {
    const { bos, eos } = spec.adds
    if (bos !== undefined || eos !== undefined) {
      return {
        prefix: bos && this.bosId !== null ? [this.bosId] : [],
        suffix: eos && this.eosId !== null ? [this.eosId] : [],
      }
    }
    return this.postProcess(spec.postProcessor)
  }

  private postProcess(part: Part | null): { prefix: number[]; suffix: number[] } {
    switch (part?.type) {
      case undefined:
      case 'ByteLevel':
        return { prefix: [], suffix: [] }
      case 'Sequence': {
        const steps = (part.processors as Part[]).map((step) => this.postProcess(step))
        return {
          prefix: [...steps].reverse().flatMap((step) => step.prefix),
          suffix: steps.flatMap((step) => step.suffix),
        }
      }
      case 'BertProcessing':
      case 'RobertaProcessing':
        return { prefix: [(part.cls as [string, number])[1]], suffix: [(part.sep as [string, number])[1]] }
      case 'TemplateProcessing':
        return fromTemplate(part)
      default:
        throw new Error(`the post-processor type "${String(part?.type)}" is not known`)
    }
  }
}

function fromTemplate(part: Part): { prefix: number[]; suffix: number[] } {
  const tokens = (part.special_tokens ?? {}) as Record<string, { ids: number[] }>
  const prefix: number[] = []
  const suffix: number[] = []
  let side = prefix
  for (const item of part.single as { SpecialToken?: { id: string }; Sequence?: unknown }[]) {
    if (item.Sequence) side = suffix
    else if (item.SpecialToken) side.push(...tokens[item.SpecialToken.id]!.ids)
  }
  return { prefix, suffix }
}

interface Model {
  /** Written form → id; added tokens are put in as well. */
  vocabulary: Map<string, number>
  encode(word: string): readonly number[]
}

function createModel(part: Part): Model {
  if (part.type === 'BPE') {
    const bpe = new Bpe(part as BpeConfig)
    return { vocabulary: bpe.vocabulary, encode: (word) => bpe.encode(word) }
  }
  if (part.type !== 'Unigram' && part.type !== 'WordPiece')
    throw new Error(`the model type "${String(part.type)}" is not known`)
  if (typeof part.vocab !== 'object' || part.vocab === null) throw new Error('its vocabulary is missing')
  const model = fromLibrary(part, null).model as unknown as {
    (words: string[]): string[]
    tokens_to_ids: Map<string, number>
    unk_token_id: number | undefined
  }
  return {
    vocabulary: model.tokens_to_ids,
    encode: (word) =>
      model([word]).flatMap((token) => model.tokens_to_ids.get(token) ?? model.unk_token_id ?? ([] as number[])),
  }
}

function createNormalizer(part: Part | null): (text: string) => string {
  if (!part) return (text) => text
  const { normalizer } = fromLibrary({ type: 'BPE', vocab: {}, merges: [] }, part)
  return (text) => normalizer!.normalize(text)
}

/** The library's own model and normaliser; the rest of it is not used. */
function fromLibrary(model: Part, normalizer: Part | null): Library {
  const rest = { pre_tokenizer: null, post_processor: null, decoder: null, added_tokens: [] }
  return new Library({ model, normalizer, ...rest }, {})
}

export type { AddedToken }
