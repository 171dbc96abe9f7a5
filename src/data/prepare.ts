/** Rows to the two encoded sides of a training run. Refuses to start a run that could learn nothing. */
import type { Tokenizer } from '../engine/tokenizer'
import type { ChatTemplate } from '../engine/tokenizer/chat-template'
import { CodedError, toReport } from '../shared/errors'
import type { OnProgress } from '../shared/files'
import type { Job } from '../shared/job'
import type { BatchSource, EncodedRow, Mapping } from '../shared/records'
import { createBatches, type MixedRows } from './batch/batches'
import { Splitter, type SplitSettings } from './batch/keys'
import { permutation } from './batch/random'
import { cancelled } from './cancel'
import { Classes } from './encode/classes'
import { encodeExample, IGNORED } from './encode/encode'
import { judgedExamples, mapRow } from './formats/map'
import type { EncodedExample, EncodeOptions, Example, Prepared, RawRow, RowSource, SkippedRow } from './types'

export interface PrepareOptions {
  /** Validation rows of their own; then no training row is held back. */
  evaluation?: { rows: RowSource; mapping: Mapping }
  /** Other datasets, and the share of every pass that comes from each. */
  mix?: readonly { rows: RowSource; mapping: Mapping; share: number }[]
  /** How many rows there are, for the progress; 0 or left out where it is not known. */
  total?: number
  onProgress?: OnProgress
  signal?: AbortSignal
  /** What a classification head tells apart, where it is known already; rows of other labels are left out. */
  classes?: readonly string[]
}

/** What of a job {@link prepare} looks at. */
type PrepareSettings = EncodeOptions & SplitSettings & Partial<Pick<Job, 'subset' | 'objective'>>

/** Rows between two reports of progress. */
const REPORT = 256
/** ms of work after which other work gets its turn, so that cancelling is heard. */
const BREATH = 30

/**
 * Maps, encodes and splits. The split counts only rows that can be trained on, so that neither side ends up empty for nothing.
 * A subset is chosen by the seed before anything is encoded, where it is known how many rows there are.
 * @throws CodedError `data.no-trained-tokens` where no row can be used; `data.columns` where the format is not known;
 * `cancelled` on abort.
 */
export async function prepare(
  rows: RowSource,
  mapping: Mapping,
  tokenizer: Tokenizer,
  template: ChatTemplate,
  job: PrepareSettings,
  options: PrepareOptions = {},
): Promise<Prepared> {
  const { total = 0, evaluation } = options
  const classes = job.objective === 'classification' ? new Classes(options.classes) : undefined
  const encode = (source: RowSource, by: Mapping, chosen?: ReadonlySet<number>, splitter?: Splitter) =>
    encodeRows(source, by, tokenizer, template, job, { ...options, chosen, splitter, classes })
  const splitter = evaluation ? undefined : new Splitter(job)
  const main = await encode(rows, mapping, subsetOf(total, job), splitter)
  if (main.rows.length === 0) throw nothingToLearn(main.skipped)
  classes?.settle(main.rows)
  const named = classes ? { classes: classes.names } : {}
  const mixed: MixedRows[] = []
  for (const other of options.mix ?? []) {
    const { rows: encoded, skipped } = await encode(other.rows, other.mapping)
    if (encoded.length === 0) throw nothingToLearn(skipped)
    mixed.push({ rows: encoded, share: other.share })
  }
  const { skipped, truncatedRows } = main
  if (!splitter) {
    const held = evaluation ? (await encode(evaluation.rows, evaluation.mapping)).rows : []
    return { train: main.rows, eval: held, mixed, skipped, truncatedRows, ...named }
  }
  const split = splitter.split()
  const pick = (indices: number[]) => indices.map((i) => main.rows[i] as EncodedRow)
  return { train: pick(split.train), eval: pick(split.eval), mixed, skipped, truncatedRows, ...named }
}

/**
 * On which side of a run a row of the dataset is, by its position; null for those that it does not use.
 * @throws what {@link prepare} throws.
 */
export async function runSides(
  ...input: Parameters<typeof prepare>
): Promise<(position: number) => 'train' | 'valid' | null> {
  const { train, eval: held } = await prepare(...input)
  const sides = new Map<number, 'train' | 'valid'>(train.map(({ index }) => [index, 'train']))
  if (!input[5]?.evaluation) for (const { index } of held) sides.set(index, 'valid')
  return (position) => sides.get(position) ?? null
}

/** The stream of batches that a job takes from its rows. */
export function batchesOf(
  { train, mixed }: Pick<Prepared, 'train' | 'mixed'>,
  job: Pick<Job, 'batchSize' | 'shuffle' | 'seed'> & Partial<Pick<Job, 'groupByLength'>>,
): BatchSource {
  const { batchSize, shuffle, seed, groupByLength } = job
  return createBatches(train, { batchSize, shuffle, seed, groupByLength }, mixed)
}

/** Stream number of the subset, unrelated to those of splits and passes. */
const SUBSET_STREAM = -13

/** The rows of a subset; undefined for all of them, or where it is not known how many there are. */
function subsetOf(total: number, { subset = 0, seed }: PrepareSettings): ReadonlySet<number> | undefined {
  if (subset <= 0 || subset >= total) return undefined
  return new Set(permutation(total, seed, SUBSET_STREAM).subarray(0, subset))
}

/** Every row encoded, in file order, without those that cannot be used. */
async function encodeRows(
  source: RowSource,
  mapping: Mapping,
  tokenizer: Tokenizer,
  template: ChatTemplate,
  encoding: EncodeOptions & Partial<Pick<Job, 'objective'>>,
  {
    onProgress,
    signal,
    total,
    chosen,
    splitter,
    classes,
  }: Omit<PrepareOptions, 'classes'> & { chosen?: ReadonlySet<number>; splitter?: Splitter; classes?: Classes },
): Promise<{ rows: EncodedRow[]; skipped: SkippedRow[]; truncatedRows: number }> {
  if (mapping.format === 'unknown') throw unknownFormat()
  const rows: EncodedRow[] = []
  const skipped: SkippedRow[] = []
  let truncatedRows = 0
  let index = 0
  for await (const row of withBreaks(source, signal)) {
    if (chosen && !chosen.has(index)) {
      index++
      continue
    }
    const result = encodeRow(row, mapping, tokenizer, template, encoding, classes)
    const { example, encoded } = result
    const reason = result.reason ?? unfit(result, encoding.objective ?? 'sft', mapping)
    if (example && encoded && reason === undefined) {
      rows.push({ index, inputIds: encoded.inputIds, labels: encoded.labels, ...judgedParts(result, encoded) })
      splitter?.add(row, example)
      if (encoded.truncated > 0) truncatedRows++
    } else skipped.push({ index, reason: reason ?? '' })
    index++
    if (index % REPORT === 0)
      onProgress?.({ stage: 'Turning rows into tokens', done: index, total: total ?? 0, unit: 'rows' })
  }
  onProgress?.({ stage: 'Turning rows into tokens', done: index, total: index, unit: 'rows' })
  giveOthers(rows, encoding.maxLength)
  return { rows, skipped, truncatedRows }
}

/** Why a row that could be encoded is not for this objective; undefined where it is. */
function unfit({ good }: RowResult, objective: Job['objective'], { format }: Mapping): string | undefined {
  if (objective === 'sft' || objective === 'classification')
    return good === false ? 'The answer is marked as a bad one.' : undefined
  const wanted = objective === 'kto' ? 'kto' : 'preference'
  if (format === wanted) return undefined
  return wanted === 'kto'
    ? 'KTO needs answers that were rated as good or bad.'
    : `${objective.toUpperCase()} needs a better and a worse answer in each row.`
}

/** What a row has beside its answer. */
function judgedParts({ rejected, good }: RowResult, encoded: EncodedExample): Partial<EncodedRow> {
  if (rejected) return { rejected: { inputIds: rejected.inputIds, labels: rejected.labels } }
  // Its other answer is known when all rows are.
  return good === undefined ? {} : { rated: { good, other: { inputIds: encoded.inputIds, labels: encoded.labels } } }
}

/** Gives each rated row its prompt with the answer of the row after it. */
function giveOthers(rows: EncodedRow[], maxLength: number): void {
  const start = ({ labels }: EncodedRow): number => labels.findIndex((label) => label !== IGNORED)
  rows.forEach((row, i) => {
    if (!row.rated) return
    const next = rows[(i + 1) % rows.length] as EncodedRow
    const prompt = row.inputIds.subarray(0, start(row))
    const answer = next.inputIds.subarray(start(next), start(next) + Math.max(1, maxLength - prompt.length))
    const labels = next.labels.subarray(start(next), start(next) + answer.length)
    row.rated.other = {
      inputIds: Int32Array.from([...prompt, ...answer]),
      labels: Int32Array.from([...prompt.map(() => IGNORED), ...labels]),
    }
  })
}

export interface RowResult {
  example?: Example
  encoded?: EncodedExample
  /** The worse answer to the same prompt. */
  rejected?: EncodedExample
  /** Whether the answer was rated as a good one. */
  good?: boolean
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
  classes?: Classes,
): RowResult {
  try {
    if (classes) {
      const example = mapRow(row, mapping)
      const encoded = classes.encode(example, tokenizer, encoding.maxLength)
      return { example, encoded, reason: encoded.problem }
    }
    if (mapping.format === 'preference' || mapping.format === 'kto')
      return encodeJudged(row, mapping, (example) =>
        encodeExample(example, tokenizer, template, { ...encoding, trainOn: 'completion' }),
      )
    const example = mapRow(row, mapping)
    const encoded = encodeExample(example, tokenizer, template, encoding)
    return { example, encoded, reason: encoded.problem }
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    return { reason: toReport(error).what }
  }
}

/** A row of two answers, or of one that was rated: the better or only one is its example. Only answers count, whatever is trained on. */
function encodeJudged(row: RawRow, mapping: Mapping, encode: (example: Example) => EncodedExample): RowResult {
  const { better: example, worse, good } = judgedExamples(row, mapping)
  const encoded = encode(example)
  if (!worse) return { example, encoded, good, reason: encoded.problem }
  const rejected = encode(worse)
  return { example, encoded, rejected, reason: encoded.problem ?? rejected.problem }
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
