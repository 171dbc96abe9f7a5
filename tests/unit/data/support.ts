/** What the data tests share: streams from text, and a small byte-level tokenizer with a chat template. Refuses to be a mock. */
import { memoryFolder } from '../../support/memory-folder'
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { importFile } from '../../../src/data'
import type { RowSink } from '../../../src/data/import/collector'
import type { ImportedData } from '../../../src/data'
import { loadChatTemplate, type ChatTemplate } from '../../../src/engine/tokenizer/chat-template'
import { loadTokenizer, type Tokenizer } from '../../../src/engine/tokenizer'
import { CodedError, type ErrorReport, toReport } from '../../../src/shared/errors'
import type { FileSource } from '../../../src/shared/files'

/** Imports bytes or text in pieces of a given size. */
export function importBytes(
  name: string,
  content: string | Uint8Array,
  pieceSize = 1 << 16,
  sink?: RowSink,
): Promise<ImportedData> {
  const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content
  let at = 0
  const stream = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (at >= bytes.length) controller.close()
      else controller.enqueue(bytes.slice(at, (at += pieceSize)))
    },
  })
  return importFile({ name, stream, size: bytes.length }, undefined, undefined, sink)
}

/** The report of the CodedError that a promise ends in; fails where it does not. */
export async function refusal(promise: Promise<unknown>): Promise<ErrorReport> {
  try {
    await promise
  } catch (error) {
    if (error instanceof CodedError) return toReport(error)
    throw error
  }
  throw new Error('nothing was refused')
}

/** A folder in memory. */
export function folder(files: Record<string, unknown>): FileSource {
  const texts = Object.entries(files).map(([name, value]) => [name, JSON.stringify(value)] as const)
  return memoryFolder(Object.fromEntries(texts))
}

const SPECIAL = ['<s>', '</s>', '<|im_start|>', '<|im_end|>']

/** The characters by which byte-level BPE writes the bytes 0 to 255 (GPT-2). */
function byteAlphabet(): string[] {
  const plain = [...range(33, 126), ...range(161, 172), ...range(174, 255)]
  let next = 256
  return range(0, 255).map((byte) => String.fromCodePoint(plain.includes(byte) ? byte : next++))
}
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

/** Bytes as tokens 4 to 259, special tokens 0 to 3, and the merges asked for after them. A leading `<s>` is added. */
function byteTokenizerFiles(merges: [string, string][] = [], template?: string): Record<string, unknown> {
  const alphabet = byteAlphabet()
  const write = (text: string) => [...new TextEncoder().encode(text)].map((byte) => alphabet[byte]).join('')
  const vocab: Record<string, number> = Object.fromEntries(SPECIAL.map((token, i) => [token, i]))
  alphabet.forEach((token, i) => (vocab[token] = i + SPECIAL.length))
  const written = merges.map(([a, b]) => [write(a), write(b)])
  written.forEach(([a, b]) => (vocab[`${a}${b}`] = Object.keys(vocab).length))
  return {
    'tokenizer.json': {
      version: '1.0',
      added_tokens: SPECIAL.map((content, id) => ({
        id,
        content,
        special: true,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
      })),
      normalizer: null,
      pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false },
      post_processor: {
        type: 'TemplateProcessing',
        single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
        pair: [],
        special_tokens: { '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] } },
      },
      decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: 'BPE',
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        vocab,
        merges: written,
      },
    },
    'tokenizer_config.json': {
      bos_token: '<s>',
      eos_token: '</s>',
      ...(template === undefined ? {} : { chat_template: template }),
    },
  }
}

export const CHATML =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

/** A tokenizer and its template; without a template of its own the built-in one. */
export async function byteModel(
  template?: string,
  merges: [string, string][] = [],
): Promise<{ tokenizer: Tokenizer; template: ChatTemplate }> {
  const source = folder(byteTokenizerFiles(merges, template))
  const tokenizer = await loadTokenizer(source)
  return { tokenizer, template: await loadChatTemplate(source, tokenizer) }
}

/** A path in the shared data folder beside the repository; undefined where it is absent. */
export function sharedData(path: string): string | undefined {
  const full = resolve(import.meta.dirname, '../../../../shared/data', path)
  return existsSync(full) ? full : undefined
}
