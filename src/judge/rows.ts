/** Dataset rows as they are judged: in tokens for the loss, as prompt and wanted answer for generation. Refuses rows it cannot encode. */
import {
  asSupervised,
  encodeExample,
  mapRow,
  prepare,
  withShots,
  type Example,
  type RowSource,
  type SkippedRow,
} from '../data'
import { partsOf } from '../data/formats/parts'
import type { Model } from '../engine'
import { CodedError } from '../shared/errors'
import type { Job } from '../shared/job'
import type { EncodedRow, Mapping } from '../shared/records'

export interface JudgeRow {
  /** What the loss is taken over, as in training. */
  encoded: EncodedRow
  prompt: string
  wanted: string
  /** Tokens that ask for the last answer; null for running text. */
  ask: number[] | null
  /** The same with examples before it; null without examples. */
  askWithShots: number[] | null
  /** Tokens of the wanted answer. */
  wantedTokens: number
}

/** A dataset that can be read more than once. */
export interface JudgeData {
  open(): RowSource | Promise<RowSource>
  mapping: Mapping
  name: string
  /** How many rows there are. */
  total: number
}

interface RowChoice {
  /** The rows that training held back (by the job's share and seed) rather than all. */
  heldBack: boolean
  /** Most rows; those beyond are left out evenly. */
  limit: number
  /** Examples to put before each question for the third column. */
  shots: number
  /** What a classification head tells apart, where the tuned model has one. */
  classes?: readonly string[] | undefined
}

export interface ChosenRows {
  rows: JudgeRow[]
  /** Whether the rows are such as training never saw. */
  heldBack: boolean
  /** Rows that cannot be used, and how many lost their end to the maximum length. */
  skipped: SkippedRow[]
  truncatedRows: number
}

/**
 * The rows to judge by. Where the job holds none back, the training rows.
 * @throws CodedError `data.*` where no row can be used; `cancelled` on abort.
 */
export async function judgeRows(
  data: JudgeData,
  model: Model,
  job: Job,
  choice: RowChoice,
  signal?: AbortSignal,
): Promise<ChosenRows> {
  const mapping = asSupervised(data.mapping)
  const of = { ...job, objective: choice.classes ? ('classification' as const) : job.objective }
  const split = choice.heldBack ? of : { ...of, evalFraction: 0 }
  const { tokenizer, chatTemplate } = model
  const sides = await prepare(await data.open(), mapping, tokenizer, chatTemplate, split, {
    total: data.total,
    signal,
    ...(choice.classes ? { classes: choice.classes } : {}),
  })
  const heldBack = choice.heldBack && sides.eval.length > 0
  const wanted = spread(heldBack ? sides.eval : sides.train, choice.limit)
  const shotRows = choice.shots > 0 ? spread(sides.train, choice.shots + 1) : []
  const examples = await examplesAt(data, mapping, new Set([...wanted, ...shotRows].map(({ index }) => index)))
  const rows = wanted.flatMap((encoded): JudgeRow[] => {
    const example = examples.get(encoded.index)
    if (!example) return []
    // A row does not stand before itself.
    const before = shotRows.filter(({ index }) => index !== encoded.index).slice(0, choice.shots)
    const shots = before.flatMap(({ index }) => examples.get(index) ?? [])
    return [judgeRow(encoded, example, shots, model)]
  })
  const { skipped, truncatedRows } = sides
  if (rows.length > 0) return { rows, heldBack, skipped, truncatedRows }
  throw new CodedError('data.empty', 'There is no row to judge by.', {
    where: data.name,
    fix: 'Choose another dataset.',
  })
}

function judgeRow(encoded: EncodedRow, example: Example, shots: readonly Example[], model: Model): JudgeRow {
  const { prompt, answer } = partsOf(example)
  const only = example.kind === 'chat' && example.messages.length === 2 ? example.messages[0] : undefined
  const asked = askFor(example, model)
  return {
    encoded,
    prompt: only?.role === 'user' ? only.content : prompt,
    wanted: answer,
    ask: asked?.ids ?? null,
    askWithShots: asked && shots.length > 0 ? (askFor(withShots(shots, example), model)?.ids ?? null) : null,
    wantedTokens: asked?.wanted ?? 0,
  }
}

/** The tokens before the last answer, exactly as a training row of this kind has them, and how many the answer has. */
function askFor(
  example: Example,
  { tokenizer, chatTemplate, network, record }: Model,
): { ids: number[]; wanted: number } | null {
  if (example.kind === 'text' || example.kind === 'tokens') return null
  const maxLength = Math.min(network.positions, record.context)
  const { inputIds, labels } = encodeExample(example, tokenizer, chatTemplate, { maxLength, trainOn: 'completion' })
  const end = labels.findLastIndex((label) => label !== -100)
  let start = end
  while (start > 0 && labels[start - 1] !== -100) start--
  return end < 0 || start === 0 ? null : { ids: [...inputIds.subarray(0, start)], wanted: end - start + 1 }
}

/** At most `limit` of a list, evenly taken from all of it. */
function spread<T>(all: readonly T[], limit: number): T[] {
  if (all.length <= limit) return [...all]
  return Array.from({ length: limit }, (_, i) => all[Math.floor((i * all.length) / limit)] as T)
}

async function examplesAt(
  data: JudgeData,
  mapping: Mapping,
  wanted: ReadonlySet<number>,
): Promise<Map<number, Example>> {
  const found = new Map<number, Example>()
  let index = 0
  for await (const row of await data.open()) {
    if (wanted.has(index)) found.set(index, mapRow(row, mapping))
    index++
    if (found.size === wanted.size) break
  }
  return found
}
