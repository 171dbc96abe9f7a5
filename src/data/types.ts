/**
 * The shapes that travel through the data room: raw rows, mapped examples, encoded examples. Refuses to hold behaviour.
 */
import type { Job } from '../shared/job'
import type { MixedRows } from './batch/batches'
import type { ChatMessage, EncodedRow, Mapping, RowProblem } from '../shared/records'

/** One row as its file has it; columns of a CSV are strings, those of JSON and Parquet anything JSON can hold. */
export type RawRow = Record<string, unknown>

/** How a file is written, apart from what its rows mean. */
export type FileKind = 'jsonl' | 'json' | 'csv' | 'text' | 'markdown' | 'parquet'

/** Bytes to import; `size` is 0 where it is not known. */
export interface ImportSource {
  name: string
  stream: ReadableStream<Uint8Array>
  size: number
  /** Bytes `start` to `end`, where they can be had without those before; else the whole of a Parquet file is held. */
  slice?: (start: number, end: number) => Promise<ArrayBuffer>
}

/** A file that can be read from its start more than once. */
export interface DataFile {
  /** Its name, with its folders where it has some. */
  name: string
  /** Bytes; 0 where it is not known. */
  size: number
  open(): ReadableStream<Uint8Array>
  /** Bytes `start` to `end`, where they can be had without those before. */
  slice?: (start: number, end: number) => Promise<ArrayBuffer>
}

/** A file's rows, what was set aside, and what the rows are taken for. */
export interface ImportedData {
  kind: FileKind
  /** The usable rows, in file order; empty where a sink took them. */
  rows: RawRow[]
  /** How many rows there are, also where a sink took them. */
  count: number
  problems: RowProblem[]
  /** Column names seen, most common first. */
  columns: string[]
  mapping: Mapping
  /** Why it was taken for this format, in one sentence. */
  why: string
}

/** A row after mapping: what is to be learnt from it, before any tokenizer is known. */
export type Example = PairExample | ChatExample | TextExample | TokensExample

/**
 * A prompt and its completion, tokenised apart and joined without anything between them. `chat`, where set, is the same
 * row as turns: it is used instead when the model has a chat template of its own.
 */
export interface PairExample {
  kind: 'pair'
  prompt: string
  completion: string
  chat?: ChatMessage[]
}
/** Turns for the model's chat template; answers from turn `trainFrom` (default 0) on are learnt. */
export interface ChatExample {
  kind: 'chat'
  messages: ChatMessage[]
  tools?: unknown[]
  trainFrom?: number
  /** Turns that are never learnt, whatever their role (their file gave them the weight 0). */
  unlearnt?: number[]
}
/** Running text, all of it learnt. */
interface TextExample {
  kind: 'text'
  text: string
}
/** Tokens made elsewhere, taken as they stand; `labels` beside `inputIds`, -100 where the loss does not look. */
interface TokensExample {
  kind: 'tokens'
  inputIds: number[]
  labels: number[]
}

export interface EncodeOptions {
  /** Longest row in tokens; what is beyond it is cut off at the end. */
  maxLength: number
  /** `completion`: answers only; `last`: of them the last of a chat; `all`: every token. Pre-tokenised rows keep their labels. */
  trainOn: Job['trainOn']
}

/** A row in tokens. `labels` stands beside `inputIds` (not shifted), -100 where the loss does not look. */
export interface EncodedExample {
  inputIds: Int32Array
  labels: Int32Array
  /** Tokens cut off by the maximum length. */
  truncated: number
  /** Labels the loss looks at: those not -100, without the first, which nothing predicts. */
  trainedTokens: number
  /** Why the row cannot be trained on, in one sentence. */
  problem?: string
}

/** A row left out of training, with its 0-based number and the reason. */
export interface SkippedRow {
  index: number
  reason: string
}

/** What a training run gets from the data room. */
export interface Prepared {
  train: EncodedRow[]
  eval: EncodedRow[]
  /** Rows of other datasets and the share of every pass that comes from each. */
  mixed: MixedRows[]
  skipped: SkippedRow[]
  /** Rows that lost tokens to the maximum length. */
  truncatedRows: number
  /** What a classification head is to tell apart; only for that objective. */
  classes?: readonly string[]
}

/** Rows from memory or, a batch at a time, from a store. */
export type RowSource = Iterable<RawRow> | AsyncIterable<RawRow>
