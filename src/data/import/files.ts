/**
 * Several files as one dataset: those of a zip, of a folder with its dataset_info.json, or chosen together; each row notes its file.
 * Refuses files that are not alike; one that cannot be read does not stop the others.
 */
import { CodedError, toReport } from '../../shared/errors'
import type { OnProgress } from '../../shared/files'
import type { Mapping, RowProblem } from '../../shared/records'
import { isObject } from '../../shared/json'
import { detectFormat } from '../formats/detect'
import { readDatasetInfo } from '../formats/dataset-info'
import { renameRole } from '../steps/change'
import type { Step } from '../steps/types'
import type { DataFile, ImportedData, RawRow } from '../types'
import { convertRow } from '../write/convert'
import type { RowSink } from './collector'
import { importFile } from './file'
import { kindByName } from './sniff'

const INFO = 'dataset_info.json'
/** Files of a folder that hold rows of another kind than those to learn from. */
const HELD = /(^|[/_.-])(valid|validation|val|dev|eval|test)([_.-]|$)/i
const TRAIN = /(^|[/_.-])train(ing)?([_.-]|$)/i

/** A file whose first rows were looked at. */
interface Known {
  file: DataFile
  mapping: Mapping
  columns: readonly string[]
  why: string
  /** Roles that its dataset_info.json spells in their own way. */
  steps: readonly Step[]
}

/**
 * Reads files one after the other. One file alone is read as it is.
 * @param sink takes the rows as they come; see {@link importFile}.
 * @throws CodedError as {@link importFile} does; `data.columns` where the files are not alike.
 */
export async function importFiles(
  files: readonly DataFile[],
  onProgress?: OnProgress,
  signal?: AbortSignal,
  sink?: RowSink,
): Promise<ImportedData> {
  const described = await readInfo(files)
  const wanted = choose(files, described)
  const [only] = wanted.files
  if (!only) {
    throw new CodedError('data.empty', 'There is no file with rows in it.', {
      where: files.map(({ name }) => name).slice(0, 5).join(', '), // prettier-ignore
      fix: 'Choose JSON, JSONL, CSV, TSV, Parquet, text or Markdown files.',
    })
  }
  if (wanted.files.length === 1 && !described) {
    const data = await importFile(sourceOf(only), onProgress, signal, sink)
    return { ...data, why: data.why + wanted.note }
  }
  const problems: RowProblem[] = []
  const known = await lookAtAll(wanted.files, described, problems, signal)
  return merge(known, problems, wanted.note, onProgress, signal, sink)
}

function sourceOf(file: DataFile) {
  const { name, size, slice } = file
  return { name: baseName(name), size, stream: file.open(), ...(slice ? { slice } : {}) }
}

const baseName = (path: string) => path.slice(path.lastIndexOf('/') + 1)

type Described = Map<string, { mapping: Mapping; steps: readonly Step[]; refused?: string }>

/** What a dataset_info.json among the files says of the others, by file name. */
async function readInfo(files: readonly DataFile[]): Promise<Described | undefined> {
  const info = files.length > 1 ? files.find(({ name }) => baseName(name) === INFO) : undefined
  if (!info) return undefined
  const value: unknown = JSON.parse(await new Response(info.open()).text())
  const described: Described = new Map()
  for (const { file, ...entry } of readDatasetInfo(value)) if (file !== undefined) described.set(file, entry)
  return described
}

/** Files that may hold rows to learn from, and what is said of those left out. */
function choose(files: readonly DataFile[], described: Described | undefined): { files: DataFile[]; note: string } {
  const named = files.filter(({ name }) => kindByName(name) !== undefined && baseName(name) !== INFO)
  const tables = named.filter(({ name }) => !['text', 'markdown'].includes(kindByName(name) ?? ''))
  const some = described
    ? named.filter(({ name }) => described.has(baseName(name)) && !described.get(baseName(name))?.refused)
    : tables.length > 0
      ? tables
      : named
  // One file that a person chose is read whatever its name says.
  const all = files.length === 1 ? [...files] : some
  const train = all.filter(({ name }) => TRAIN.test(baseName(name)))
  const held = all.filter(({ name }) => HELD.test(baseName(name)) && !TRAIN.test(baseName(name)))
  if (train.length === 0 || held.length === 0) return { files: all, note: '' }
  const names = held.map(({ name }) => `"${baseName(name)}"`).join(', ')
  const note = ` Left out as rows for validation: ${names}; add them as a dataset of their own.`
  return { files: all.filter((file) => !held.includes(file)), note }
}

/** Every file's format; a file that cannot be read becomes a problem. */
async function lookAtAll(
  files: readonly DataFile[],
  described: Described | undefined,
  problems: RowProblem[],
  signal?: AbortSignal,
): Promise<Known[]> {
  const known: Known[] = []
  let first: unknown
  for (const file of files) {
    try {
      const { mapping, columns, why } = await lookAt(file, signal)
      const told = described?.get(baseName(file.name))
      known.push({ file, mapping: told?.mapping ?? mapping, columns, steps: told?.steps ?? [], why: told ? `${INFO} says so.` : why }) // prettier-ignore
    } catch (error) {
      if (!(error instanceof CodedError) || error.code === 'cancelled') throw error
      first ??= error
      problems.push({ line: 1, reason: `${baseName(file.name)}: ${toReport(error).what}`, text: '' })
    }
  }
  if (known.length === 0) throw first
  return known
}

/** Thrown by the sink that has seen enough. */
class Enough extends Error {}

/** A file's format from its first rows. */
async function lookAt(
  file: DataFile,
  signal?: AbortSignal,
): Promise<Pick<ImportedData, 'mapping' | 'columns' | 'why'>> {
  let head: RawRow[] = []
  try {
    return await importFile(sourceOf(file), undefined, signal, (rows) => {
      head = rows
      throw new Enough()
    })
  } catch (error) {
    if (!(error instanceof Enough)) throw error
  }
  return { ...detectFormat(head), columns: [...new Set(head.flatMap((row) => Object.keys(row)))] }
}

/** What the rows of all files become. */
interface Common {
  mapping: Mapping
  /** A row of a file in that form. */
  turn: (row: RawRow, from: Known) => RawRow
}

const SPOKEN = ['alpaca', 'sharegpt', 'chat', 'pair', 'label']

/** Rows stay as they are where all files are mapped alike; conversations of several spellings become chats. */
function common(known: readonly Known[]): Common {
  const [first] = known as [Known]
  const mended = (row: RawRow, { steps }: Known) =>
    steps.reduce((changed, step) => (step.kind === 'rename-role' ? renameRole(changed, step.from, step.to) : changed), row) // prettier-ignore
  const alike = known.every(({ mapping }) => JSON.stringify(mapping) === JSON.stringify(first.mapping))
  if (alike) return { mapping: first.mapping, turn: mended }
  const formats = new Set(known.map(({ mapping }) => mapping.format))
  const [format] = formats
  const turned = (to: Parameters<typeof convertRow>[2], columns: Record<string, string>): Common => ({
    mapping: { format: to, columns },
    turn: (row, from) => convertRow(mended(row, from), from.mapping, to),
  })
  if ([...formats].every((name) => SPOKEN.includes(name)))
    return turned('chat', { messages: 'messages', tools: 'tools' })
  if (formats.size === 1 && format === 'text') return turned('text', { text: 'text' })
  if (formats.size === 1 && format === 'tokens') return turned('tokens', { input_ids: 'input_ids', labels: 'labels' })
  if (formats.size === 1 && (format === 'preference' || format === 'kto')) {
    const roles = new Set(known.flatMap(({ mapping }) => Object.keys(mapping.columns)))
    return turned(format, Object.fromEntries([...roles].map((role) => [role, role])))
  }
  const list = known.map(({ file, mapping }) => `${baseName(file.name)} is ${mapping.format}`)
  throw new CodedError('data.columns', 'The files are not of one kind.', {
    where: list.join(', '),
    fix: 'Add them one by one; a run can mix several datasets.',
  })
}

async function merge(
  known: readonly Known[],
  problems: RowProblem[],
  note: string,
  onProgress?: OnProgress,
  signal?: AbortSignal,
  sink?: RowSink,
): Promise<ImportedData> {
  const { mapping, turn } = common(known)
  const column = known.some(({ columns }) => columns.includes('source')) ? 'source_file' : 'source'
  const merged: ImportedData = { kind: 'jsonl', rows: [], count: 0, problems, columns: [], mapping, why: '' }
  const columns = new Set<string>()
  for (const [i, from] of known.entries()) {
    const name = baseName(from.file.name)
    let row = 0
    const take = async (batch: RawRow[]) => {
      const turned: RawRow[] = []
      for (const raw of batch) {
        row++
        const done = attempt(() => turn(raw, from))
        if (isObject(done)) turned.push({ ...done, [column]: name })
        else problems.push({ line: row, reason: `${name}: ${done}`, text: JSON.stringify(raw).slice(0, 200) })
      }
      for (const one of turned.slice(0, 100)) for (const key of Object.keys(one)) columns.add(key)
      merged.count += turned.length
      if (sink) await sink(turned)
      else for (const one of turned) merged.rows.push(one)
    }
    const data = await importFile(sourceOf(from.file), onProgress, signal, take)
    for (const problem of data.problems) problems.push({ ...problem, reason: `${name}: ${problem.reason}` })
    if (i === 0) merged.kind = data.kind
  }
  const many = known.length === 1 ? '' : ` ${known.length} files were merged; "${column}" says where a row is from.`
  return { ...merged, columns: [...columns], why: `${known[0]?.why ?? ''}${many}${note}` }
}

/** The row, or why it cannot be one. */
function attempt(make: () => RawRow): RawRow | string {
  try {
    return make()
  } catch (error) {
    if (error instanceof CodedError) return toReport(error).what
    throw error
  }
}
