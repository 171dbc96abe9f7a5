/**
 * A stored dataset as it is after its steps, read a stretch at a time: which rows are left and what is done to each.
 * Refuses to hold the rows themselves; a million of them cost four bytes each.
 */
import { audit, type AuditOptions } from '../audit/audit'
import { sharedRows } from '../audit/shared'
import type { Finding } from '../audit/types'
import { maskPersonal } from '../audit/personal'
import { permutation } from '../batch/random'
import { mapRow } from '../formats/map'
import { partsOf } from '../formats/parts'
import { CodedError } from '../../shared/errors'
import { asRead } from '../../shared/roles'
import type { Mapping } from '../../shared/records'
import type { RawRow, RowSource } from '../types'
import { fillTemplate, mapTexts, renameColumn, renameInMapping, renameRole } from './change'
import type { RowOrigin, Step } from './types'

/** Rows where they lie. */
export interface StoredSource {
  count: number
  slice(from: number, to: number): Promise<RawRow[]>
}

type AddRows = Extract<Step, { kind: 'add-rows' }>

/** What a step does to one row, by its number in the file. */
type Change = (row: RawRow, number: number) => RawRow

/** What working out a step may need: the settings of an audit, and other datasets by what steps call them. */
export interface StepOptions extends AuditOptions {
  other?: (id: string) => Promise<{ rows: RowSource; mapping: Mapping }>
}

/** Rows read at once, and the gap that is read along instead of reading twice. */
const STRIDE = 4096
const GAP = 256

interface State {
  source: StoredSource
  mapping: Mapping
  columns: readonly string[]
  /** Numbers of the rows that are left, ascending. */
  numbers: Uint32Array
  changes: readonly Change[]
  /** Rows written by hand, with the changes that come after them. */
  added: ReadonlyMap<number, { row: RawRow; from: number; origin: RowOrigin | 'hand' }>
  /** The number that the next row written by hand gets. */
  next: number
  /** Rows after each step. */
  counts: readonly number[]
}

export class SteppedRows implements AsyncIterable<RawRow> {
  readonly #state: State
  readonly mapping: Mapping
  readonly columns: readonly string[]
  readonly count: number
  readonly counts: readonly number[]

  private constructor(state: State) {
    this.#state = state
    this.mapping = state.mapping
    this.columns = state.columns
    this.count = state.numbers.length
    this.counts = state.counts
  }

  /** Rows as they are stored, then after some steps, all of them resolved. */
  static of(
    source: StoredSource,
    mapping: Mapping,
    columns: readonly string[],
    steps: readonly Step[] = [],
  ): SteppedRows {
    const state: State = {
      source,
      mapping,
      columns,
      numbers: Uint32Array.from({ length: source.count }, (_, i) => i),
      changes: [],
      added: new Map(),
      next: source.count,
      counts: [],
    }
    return steps.reduce((rows, step) => rows.after(step), new SteppedRows(state))
  }

  /** These rows after one more step, which is resolved: see {@link resolveStep}. */
  after(step: Step): SteppedRows {
    const next = { ...this.#state, ...changed(this.#state, step) }
    return new SteppedRows({ ...next, counts: [...next.counts, next.numbers.length] })
  }

  /** The number in the file of the row at a position. */
  numberAt(position: number): number {
    return this.#state.numbers[position] as number
  }

  /** Who wrote the row at a position; undefined for those of the file. */
  originAt(position: number): RowOrigin | 'hand' | undefined {
    return this.#state.added.get(this.numberAt(position))?.origin
  }

  /** The number that the next row written by hand gets. */
  get next(): number {
    return this.#state.next
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<RawRow> {
    for (let from = 0; from < this.count; from += STRIDE) yield* await this.slice(from, from + STRIDE)
  }

  slice(from: number, to: number): Promise<RawRow[]> {
    return this.#read(this.#state.numbers.subarray(from, to))
  }

  /** Rows at any positions, in that order. */
  pick(positions: ArrayLike<number>): Promise<RawRow[]> {
    return this.#read(Uint32Array.from(positions, (position) => this.numberAt(position)))
  }

  async #read(numbers: Uint32Array): Promise<RawRow[]> {
    const { source, added } = this.#state
    const stored = new Map<number, RawRow>()
    const wanted = numbers.filter((number) => number < source.count).sort()
    for (let at = 0; at < wanted.length;) {
      const from = wanted[at] as number
      let to = from + 1
      for (; at < wanted.length && (wanted[at] as number) < Math.min(to + GAP, from + STRIDE + 1); at++)
        to = (wanted[at] as number) + 1
      const rows = await source.slice(from, to)
      rows.forEach((row, i) => stored.set(from + i, row))
    }
    return Array.from(numbers, (number) => {
      const own = added.get(number)
      if (own) return this.#finish(number, own.row, own.from)
      return this.#finish(number, stored.get(number) ?? {}, 0)
    })
  }

  #finish(number: number, row: RawRow, from: number): RawRow {
    const { changes } = this.#state
    let result = row
    for (let i = from; i < changes.length; i++) result = (changes[i] as Change)(result, number)
    return result
  }
}

function changed(state: State, step: Step): Partial<State> {
  const { mapping, columns, numbers, changes } = state
  const each = (change: Change): Partial<State> => ({ changes: [...changes, change] })
  const without = (gone: ReadonlySet<number>): Partial<State> => ({
    numbers: numbers.filter((number) => !gone.has(number)),
  })
  switch (step.kind) {
    case 'map':
      return { mapping: { ...step.mapping } }
    case 'system-prompt':
      return { mapping: { ...mapping, systemPrompt: step.text } }
    case 'template':
      return {
        ...each((row) => ({ ...row, [step.column]: fillTemplate(step.template, row) })),
        columns: columns.includes(step.column) ? columns : [...columns, step.column],
      }
    case 'rename-column':
      return {
        ...each((row) => renameColumn(row, step.from, step.to)),
        columns: [...new Set(columns.map((column) => (column === step.from ? step.to : column)))],
        mapping: renameInMapping(mapping, step.from, step.to),
      }
    case 'rename-role':
      return each((row) => renameRole(row, step.from, step.to))
    case 'trim':
      return each((row) => mapTexts(row, (text) => text.trim()))
    case 'replace':
      return each((row) => mapTexts(row, (text) => text.replaceAll(step.find, () => step.replacement), step.columns))
    case 'mask-personal':
      return each((row) => mapTexts(row, (text) => maskPersonal(text, step.kinds)))
    case 'drop-findings':
    case 'drop-shared':
      if (!step.rows) throw new CodedError('usage', 'The step has not been worked out on these rows yet.')
      return without(new Set(step.rows))
    case 'sample': {
      const chosen = permutation(numbers.length, step.seed).slice(0, step.rows).sort()
      return { numbers: Uint32Array.from(chosen, (position) => numbers[position] as number) }
    }
    case 'edit-row':
      return each((row, number) => (number === step.row ? step.value : row))
    case 'delete-rows':
      return without(new Set(step.rows))
    case 'add-rows':
      return withRows(state, step)
  }
}

function withRows(state: State, { rows, first = state.next, origin }: AddRows): Partial<State> {
  const added = new Map(state.added)
  rows.forEach((row, i) => added.set(first + i, { row, from: state.changes.length, origin: origin ?? 'hand' }))
  const numbers = new Uint32Array(state.numbers.length + rows.length)
  numbers.set(state.numbers)
  rows.forEach((_, i) => (numbers[state.numbers.length + i] = first + i))
  const columns = [...new Set([...state.columns, ...rows.flatMap((row) => Object.keys(row))])]
  return { added, numbers, columns, next: Math.max(state.next, first + rows.length) }
}

/**
 * A step with all that it means on these rows: which ones an audit finds, and the numbers of rows written by hand. Others
 * come back as they are.
 */
export async function resolveStep(rows: SteppedRows, step: Step, options: StepOptions): Promise<Step> {
  if (step.kind === 'add-rows') return step.first === undefined ? { ...step, first: rows.next } : step
  if (step.kind === 'drop-shared' && !step.rows) {
    if (!options.other) throw new CodedError('usage', `The step needs the dataset "${step.name}", which is not here.`)
    const shared = await sharedRows(rows, rows.mapping, await options.other(step.with), {
      ...options,
      total: rows.count,
    })
    return { ...step, rows: Uint32Array.from(shared, (position) => rows.numberAt(position)) }
  }
  if (step.kind !== 'drop-findings' || step.rows) return step
  const report = await audit(rows, rows.mapping, { ...options, total: rows.count })
  const found = report.findings.filter((finding) => finding.side === 'train' && step.findings.includes(finding.kind))
  const positions = new Set(found.map((finding) => finding.row))
  if (step.keep === 'longest') await keepLongest(rows, found, positions)
  return { ...step, rows: Uint32Array.from(positions, (position) => rows.numberAt(position)).sort() }
}

/** Of rows with the same prompt and different answers, keeps the longest answer in place of the first. */
async function keepLongest(rows: SteppedRows, found: readonly Finding[], dropped: Set<number>): Promise<void> {
  const rivals = new Map<number, number[]>()
  for (const { kind, row, of, ofSide } of found) {
    if (kind !== 'conflict' || of === undefined || ofSide === 'eval') continue
    rivals.set(of, [...(rivals.get(of) ?? [of]), row])
  }
  for (const group of rivals.values()) {
    const lengths = (await rows.pick(group)).map((row) => partsOf(mapRow(row, asRead(rows.mapping))).answer.length)
    const longest = lengths.indexOf(Math.max(...lengths))
    group.forEach((position, i) => (i === longest ? dropped.delete(position) : dropped.add(position)))
  }
}
