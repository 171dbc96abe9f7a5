/** Rows as other trainers read them: prompt and completion, chats or running text, in JSON Lines. Refuses token ids, which only one tokenizer knows. */
import { CodedError } from '../../shared/errors'
import type { Job } from '../../shared/job'
import type { Mapping } from '../../shared/records'
import { asSupervised } from '../../shared/roles'
import { judgedExamples, mapRow } from '../formats/map'
import { badRow } from '../formats/values'
import type { Example, RawRow, RowSource } from '../types'
import { writeExample } from './convert'

export type HandoffKind = 'pair' | 'chat' | 'text'

/** One side of a split in JSON Lines, written again each time it is asked for, so that it is never held. */
interface HandoffSide {
  rows: number
  /** Bytes of all chunks. */
  size: number
  chunks(): AsyncGenerator<Uint8Array>
}

interface HandoffRows {
  kind: HandoffKind
  train: HandoffSide
  valid: HandoffSide
  /** Rows that cannot be written so, with the first reason. */
  leftOut: { rows: number; reason: string }
}

export type Side = 'train' | 'valid'

/** What of a job says how its rows are written. */
type HandoffSettings = Pick<Job, 'objective'>

/** Bytes that are worth a chunk of their own. */
const CHUNK = 1 << 18

/**
 * Every row as one line, on the side that it was trained or judged on; read once to count and once for each file.
 * @param ownTemplate whether the model has a chat template of its own: single questions are then handed on as chats, as they are trained.
 * @param sideOf by the row's position; null for rows that the job does not use.
 * @param held rows of a dataset of their own, for validation.
 * @throws CodedError `data.empty` where not one row can be written.
 */
export async function handoffRows(
  rows: RowSource,
  mapping: Mapping,
  job: HandoffSettings,
  ownTemplate: boolean,
  sideOf: (index: number) => Side | null,
  held?: { rows: RowSource; mapping: Mapping },
): Promise<HandoffRows> {
  const leftOut = { rows: 0, reason: '' }
  const kind = await kindOfRows(rows, mapping, job, ownTemplate, sideOf)
  if (kind === null) throw nothingToWrite('')
  const writing = { kind, job, ownTemplate }
  const side = async (source: RowSource, by: Mapping, takes: (index: number) => boolean): Promise<HandoffSide> => {
    const lines = () => linesOf(source, by, writing, takes)
    let [count, size] = [0, 0]
    for await (const { line, reason } of lines()) {
      if (line) [count, size] = [count + 1, size + line.length]
      else leftOut.reason ||= reason
      if (!line) leftOut.rows++
    }
    return { rows: count, size, chunks: () => chunksOf(lines()) }
  }
  const train = await side(rows, mapping, (index) => sideOf(index) === 'train')
  const valid = held
    ? await side(held.rows, held.mapping, () => true)
    : await side(rows, mapping, (index) => sideOf(index) === 'valid')
  if (train.rows === 0) throw nothingToWrite(leftOut.reason)
  return { kind, train, valid, leftOut }
}

interface Writing {
  kind: HandoffKind
  job: HandoffSettings
  ownTemplate: boolean
}

async function* linesOf(
  rows: RowSource,
  mapping: Mapping,
  writing: Writing,
  takes: (index: number) => boolean,
): AsyncGenerator<{ line: Uint8Array | null; reason: string }> {
  const encoder = new TextEncoder()
  let index = 0
  for await (const row of rows) {
    if (!takes(index++)) continue
    try {
      const { kind, value } = written(row, mapping, writing.job, writing.ownTemplate)
      if (kind !== writing.kind) throw badRow('', `It is a ${kind} row among ${writing.kind} rows.`)
      yield { line: encoder.encode(`${JSON.stringify(value)}\n`), reason: '' }
    } catch (error) {
      if (!(error instanceof CodedError)) throw error
      yield { line: null, reason: error.what }
    }
  }
}

async function* chunksOf(lines: AsyncIterable<{ line: Uint8Array | null }>): AsyncGenerator<Uint8Array> {
  let parts: Uint8Array[] = []
  let size = 0
  const flush = (): Uint8Array => {
    const out = new Uint8Array(size)
    let at = 0
    for (const part of parts) {
      out.set(part, at)
      at += part.length
    }
    ;[parts, size] = [[], 0]
    return out
  }
  for await (const { line } of lines) {
    if (!line) continue
    parts.push(line)
    size += line.length
    if (size >= CHUNK) yield flush()
  }
  if (size > 0) yield flush()
}

/** What the first row that can be written is; null where none can. */
async function kindOfRows(
  rows: RowSource,
  mapping: Mapping,
  job: HandoffSettings,
  ownTemplate: boolean,
  sideOf: (index: number) => Side | null,
): Promise<HandoffKind | null> {
  let index = 0
  for await (const row of rows) {
    if (sideOf(index++) === null) continue
    try {
      return written(row, mapping, job, ownTemplate).kind
    } catch (error) {
      if (!(error instanceof CodedError)) throw error
    }
  }
  return null
}

interface Written {
  kind: HandoffKind
  value: RawRow
}

/** A row as the other trainers' objective wants it. @throws CodedError `data.row` */
function written(row: RawRow, mapping: Mapping, job: HandoffSettings, ownTemplate: boolean): Written {
  if (job.objective === 'sft') return supervised(mapRow(row, asSupervised(mapping)), ownTemplate)
  const { better, worse, good } = judgedExamples(row, mapping)
  const first = supervised(better, ownTemplate)
  if (good !== undefined) return { kind: first.kind, value: { ...first.value, label: good } }
  const second = supervised(worse as Example, ownTemplate)
  return first.kind === 'chat' ? chatPreference(first, second) : pairPreference(first, second)
}

function supervised(example: Example, ownTemplate: boolean): Written {
  if (example.kind === 'tokens') throw badRow('', 'Token ids belong to one tokenizer.')
  const chat = example.kind === 'pair' && example.chat && ownTemplate ? example.chat : null
  const said: Example = chat ? { kind: 'chat', messages: chat } : example
  const kind = said.kind as HandoffKind
  return { kind, value: writeExample(said, kind) }
}

function pairPreference({ kind, value }: Written, { value: other }: Written): Written {
  if (value.prompt !== other.prompt) throw badRow('', 'Its two answers are not to the same prompt.')
  return { kind, value: { prompt: value.prompt, chosen: value.completion, rejected: other.completion } }
}

/** The turns that two chats share, and the last of each. */
function chatPreference({ kind, value }: Written, { value: other }: Written): Written {
  const [turns, others] = [value.messages as unknown[], other.messages as unknown[]]
  const shared = turns.slice(0, -1)
  if (JSON.stringify(shared) !== JSON.stringify(others.slice(0, -1)))
    throw badRow('', 'Its two answers are not to the same turns.')
  return { kind, value: { messages: shared, chosen: turns.at(-1), rejected: others.at(-1) } }
}

function nothingToWrite(reason: string): CodedError {
  return new CodedError('data.empty', 'Not one row can be handed on.', {
    where: reason,
    fix: 'Use a dataset of texts: rows of token ids belong to one tokenizer.',
  })
}
