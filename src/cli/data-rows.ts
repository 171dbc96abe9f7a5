/** What the `data` commands share: a dataset after the steps of a recipe, and how it is written. Refuses recipes that it does not know. */
import type { AuditOptions, ImportedData, RawRow, RowFile } from '../data'
import { applySteps, convertRow, readRecipe, TARGET_FORMATS, writeRows, type TargetFormat } from '../data'
import { CodedError, toReport } from '../shared/errors'
import type { Job } from '../shared/job'
import type { RowProblem } from '../shared/records'
import type { CommandContext } from './context'
import { readDataset } from './dataset'
import { readRange } from './folder'

/** A dataset as it is after its recipe. */
export interface DataRows extends ImportedData {
  /** Rows after each step of the recipe. */
  counts: number[]
}

/**
 * The rows of `--data`, after the steps of `--recipe`, and without those of `--without`.
 * @throws CodedError of the `data.` and `file.` families.
 */
export async function openDataRows(
  context: CommandContext,
  job: Job,
  model?: AuditOptions['model'],
): Promise<DataRows> {
  const { options, output, interrupt } = context
  const data = await readDataset(job.data, output, interrupt.signal)
  const { recipe, without } = options
  if (recipe === undefined && without === undefined) return { ...data, counts: [] }
  const steps = recipe === undefined ? [] : [...readRecipe(await readJson(recipe)).steps]
  const named = steps.some(({ kind }) => kind === 'drop-shared')
  // A recipe that leaves out what another dataset has says at which place; else it is the last step.
  if (without !== undefined && !named) steps.push({ kind: 'drop-shared', with: without, name: without })
  const other = (id: string) => readDataset(otherPath(id, without), output, interrupt.signal)
  const { signal } = interrupt
  const applied = await applySteps(data.rows, data.mapping, steps, { ...job, model, signal, other })
  const columns = [...new Set(applied.rows.flatMap((row) => Object.keys(row)))]
  return {
    ...data,
    rows: applied.rows,
    count: applied.rows.length,
    mapping: applied.mapping,
    columns,
    counts: applied.counts,
  }
}

/** Where the dataset is that a step compares with. @throws CodedError `usage` for one that only a browser has. */
function otherPath(id: string, without: string | undefined): string {
  if (without !== undefined) return without
  if (!id.startsWith('local:')) return id
  throw new CodedError(
    'usage',
    'The recipe leaves out rows that another dataset has too, and that one is in a browser.',
    {
      where: '--recipe',
      fix: 'Give its file with --without.',
    },
  )
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(new TextDecoder().decode(await readRange(path)))
  } catch (error) {
    if (error instanceof CodedError) throw error
    throw new CodedError('data.row', `The recipe is not JSON: ${(error as Error).message}`, {
      where: path,
      fix: 'Save the recipe again from the Data page.',
      cause: error,
    })
  }
}

/** Rows in the format of `--to`, and those that it cannot hold. */
export interface Written {
  rows: RawRow[]
  problems: RowProblem[]
}

/**
 * Rows in another format; as they are where none is asked for.
 * @throws CodedError `usage` for a format that is not known; `data.columns` where the rows' own format is not.
 */
export function convertRows({ rows, mapping }: Pick<DataRows, 'rows' | 'mapping'>, to: string | undefined): Written {
  if (to === undefined) return { rows, problems: [] }
  const format = targetOf(to)
  if (mapping.format === 'unknown') {
    throw new CodedError('data.columns', 'It is not known which columns hold the prompt and the answer.', {
      where: '--data',
      fix: 'Give a --recipe whose first step says so, or name the columns "prompt" and "completion".',
    })
  }
  const written: Written = { rows: [], problems: [] }
  rows.forEach((row, i) => {
    try {
      written.rows.push(convertRow(row, mapping, format))
    } catch (error) {
      if (!(error instanceof CodedError)) throw error
      written.problems.push({ line: i + 1, reason: toReport(error).what, text: JSON.stringify(row).slice(0, 200) })
    }
  })
  return written
}

function targetOf(name: string): TargetFormat {
  const found = TARGET_FORMATS.find((format) => format === name)
  if (found) return found
  throw new CodedError('usage', `There is no format "${name}".`, {
    where: `--to ${name}`,
    fix: `Use one of ${TARGET_FORMATS.join(', ')}.`,
  })
}

/** How a file is written, by its name. @throws CodedError `usage` */
export function rowFileOf(path: string): RowFile {
  const extension = /\.(jsonl|json|csv|tsv)$/i.exec(path)?.[1]?.toLowerCase()
  if (extension) return extension as RowFile
  throw new CodedError('usage', 'The file must end in .jsonl, .json, .csv or .tsv.', { where: `--out-file ${path}` })
}

/** Pieces of a file of rows, in chunks that are worth writing. */
export function* fileChunks(rows: readonly RawRow[], file: RowFile): Generator<Uint8Array> {
  const encoder = new TextEncoder()
  let text = ''
  for (const piece of writeRows(rows, file)) {
    text += piece
    if (text.length < 1 << 20) continue
    yield encoder.encode(text)
    text = ''
  }
  yield encoder.encode(text)
}
