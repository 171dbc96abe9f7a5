/** Rows to the two encoded sides of a training run. Refuses to start a run that could learn nothing. */
import type { Tokenizer } from '../engine/tokenizer'
import type { ChatTemplate } from '../engine/tokenizer/chat-template'
import { CodedError, toReport } from '../shared/errors'
import type { OnProgress } from '../shared/files'
import type { Job } from '../shared/job'
import type { EncodedRow, Mapping } from '../shared/records'
import { cancelled } from './cancel'
import { splitRows } from './batch/split'
import { encodeExample } from './encode/encode'
import { mapRow } from './formats/map'
import type { EncodedExample, EncodeOptions, Example, Prepared, RawRow, RowSource, SkippedRow } from './types'

export interface PrepareOptions {
  /** Validation rows of their own; then no training row is held back. */
  evaluation?: { rows: RowSource; mapping: Mapping }
  /** How many rows there are, for the progress; 0 or left out where it is not known. */
  total?: number
  onProgress?: OnProgress
  signal?: AbortSignal
}

/** Rows between two reports of progress. */
const REPORT = 256
/** ms of work after which other work gets its turn, so that cancelling is heard. */
const BREATH = 30

/**
 * Maps, encodes and splits. The split counts only rows that can be trained on, so that neither side ends up empty for nothing.
 * @throws CodedError `data.no-trained-tokens` where no row can be used; `data.columns` where the format is not known;
 * `cancelled` on abort.
 */
export async function prepare(
  rows: RowSource,
  mapping: Mapping,
  tokenizer: Tokenizer,
  template: ChatTemplate,
  job: Pick<Job, 'maxLength' | 'trainOn' | 'evalFraction' | 'seed'>,
  options: PrepareOptions = {},
): Promise<Prepared> {
  const encode = (source: RowSource, by: Mapping) => encodeRows(source, by, tokenizer, template, job, options)
  const main = await encode(rows, mapping)
  if (main.rows.length === 0) throw nothingToLearn(main.skipped)
  if (options.evaluation) {
    const held = await encode(options.evaluation.rows, options.evaluation.mapping)
    return { train: main.rows, eval: held.rows, skipped: main.skipped, truncatedRows: main.truncatedRows }
  }
  const split = splitRows(main.rows.length, job.evalFraction, job.seed)
  const pick = (indices: number[]) => indices.map((i) => main.rows[i] as EncodedRow)
  return { train: pick(split.train), eval: pick(split.eval), skipped: main.skipped, truncatedRows: main.truncatedRows }
}

/** Every row encoded, in file order, without those that cannot be used. */
async function encodeRows(
  source: RowSource,
  mapping: Mapping,
  tokenizer: Tokenizer,
  template: ChatTemplate,
  encoding: EncodeOptions,
  { onProgress, signal, total }: PrepareOptions,
): Promise<{ rows: EncodedRow[]; skipped: SkippedRow[]; truncatedRows: number }> {
  if (mapping.format === 'unknown') throw unknownFormat()
  const rows: EncodedRow[] = []
  const skipped: SkippedRow[] = []
  let truncatedRows = 0
  let index = 0
  for await (const row of withBreaks(source, signal)) {
    const { encoded, reason } = encodeRow(row, mapping, tokenizer, template, encoding)
    if (encoded && reason === undefined) {
      rows.push({ index, inputIds: encoded.inputIds, labels: encoded.labels })
      if (encoded.truncated > 0) truncatedRows++
    } else skipped.push({ index, reason: reason ?? '' })
    index++
    if (index % REPORT === 0)
      onProgress?.({ stage: 'Turning rows into tokens', done: index, total: total ?? 0, unit: 'rows' })
  }
  onProgress?.({ stage: 'Turning rows into tokens', done: index, total: index, unit: 'rows' })
  return { rows, skipped, truncatedRows }
}

export interface RowResult {
  example?: Example
  encoded?: EncodedExample
  /** Why the row cannot be used. */
  reason?: string
}

/** One row mapped and encoded; what is wrong with it comes back as the reason. */
export function encodeRow(
  row: RawRow,
  mapping: Mapping,
  tokenizer: Tokenizer,
  template: ChatTemplate,
  encoding: EncodeOptions,
): RowResult {
  let example: Example
  try {
    example = mapRow(row, mapping)
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    return { reason: toReport(error).what }
  }
  const encoded = encodeExample(example, tokenizer, template, encoding)
  return { example, encoded, reason: encoded.problem }
}

/**
 * Rows one after the other, giving way to other work now and then.
 * @throws CodedError `cancelled` once the signal is raised.
 */
export async function* withBreaks(source: RowSource, signal?: AbortSignal): AsyncGenerator<RawRow> {
  let since = performance.now()
  if (signal?.aborted) throw cancelled()
  for await (const row of source) {
    if (performance.now() - since > BREATH) {
      await new Promise((resolve) => setTimeout(resolve, 0))
      since = performance.now()
      if (signal?.aborted) throw cancelled()
    }
    yield row
  }
}

function nothingToLearn(skipped: readonly SkippedRow[]): CodedError {
  const first = skipped[0]
  if (!first) return new CodedError('data.empty', 'There are no rows.', { fix: 'Add examples and try again.' })
  return new CodedError(
    'data.no-trained-tokens',
    `None of the ${skipped.length} rows can be trained on: ${first.reason}`,
    {
      where: `row ${first.index + 1}`,
      fix: 'Check which columns hold the prompt and the answer, and the maximum length.',
    },
  )
}

/** The error for rows whose columns do not tell what they are. */
export function unknownFormat(): CodedError {
  return new CodedError('data.columns', 'It is not known which columns hold the prompt and the answer.', {
    fix: 'Choose a format and its columns.',
  })
}
