/** What a sample of rows says about their columns: names, kinds of value, variety. Refuses to decide what they mean. */
import { isObject } from '../../shared/json'
import type { RawRow } from '../types'
import { isShareGptTurn, isTurn } from './turns'
import { listOf, truthOf, valueAt } from './values'

/**
 * Kinds a column can be asked for. `text`: texts in nearly every row; `string`: texts where there is anything; `filled`: a
 * value in nearly every row; `present`: a value in any row; `short`: short texts that repeat; `class`: short texts or whole
 * numbers that repeat; `truth`: yes or no; `ids`: lists of whole numbers; `turns`: lists of turns.
 */
export type Kind =
  'text' | 'string' | 'filled' | 'present' | 'short' | 'class' | 'truth' | 'ids' | 'turns' | 'from-value'

interface Facts {
  filled: number
  strings: number
  numbers: number
  truths: number
  idLists: number
  turnLists: number
  fromValue: number
  longest: number
  /** Characters of all texts together. */
  letters: number
  values: Set<string>
}

/** Rows looked at: the first ones and some from all over. */
const SAMPLE = 400
const MOST = 0.8

export class Columns {
  readonly #rows: RawRow[]
  readonly #facts = new Map<string, Facts>()
  readonly #nested = new Map<string, Facts>()

  constructor(rows: readonly RawRow[]) {
    const stride = Math.max(1, Math.floor(rows.length / (SAMPLE / 2)))
    this.#rows = rows.filter((_, i) => i < SAMPLE / 2 || i % stride === 0)
    for (const row of this.#rows)
      for (const name of Object.keys(row)) if (!this.#facts.has(name)) this.#facts.set(name, this.#study(name))
    for (const name of [...this.#facts.keys()])
      for (const path of nestedPaths(name, this.#rows)) this.#nested.set(path, this.#study(path))
  }

  /** Column names for a sentence. */
  list(): string {
    const names = [...this.#facts.keys()]
    const shown = names.slice(0, 8).map((name) => `"${name}"`)
    return shown.join(', ') + (names.length > 8 ? ` and ${names.length - 8} more` : '')
  }

  /** The columns with one of the names that do not hold texts in nearly every row, for a sentence; empty where there are none. */
  textless(names: readonly string[]): string {
    const found = [...this.#facts.keys()].filter(
      (column) => names.some((name) => this.is(column, name)) && !this.has(column, 'text'),
    )
    return found.map((name) => `"${name}"`).join(', ')
  }

  /** The first column with one of the names (in their order, whatever their case) that holds such values. */
  find(names: readonly string[], kind: Kind, nested = false): string | undefined {
    for (const facts of nested ? [this.#facts, this.#nested] : [this.#facts]) {
      for (const name of names) {
        for (const column of facts.keys()) if (this.is(column, name) && this.has(column, kind)) return column
      }
    }
    return undefined
  }

  /** Whether a column goes by a name: its own or, for a nested one, its last part. */
  is(column: string, name: string): boolean {
    const last = this.#facts.has(column) ? column : (column.split('.').at(-1) ?? column)
    return (
      last
        .trim()
        .toLowerCase()
        .replace(/[^\p{L}\p{N}]+/gu, '_') === name
    )
  }

  /** The first column of a kind, whatever its name. */
  any(kind: Kind): string | undefined {
    return [...this.#facts.keys()].find((column) => this.has(column, kind))
  }

  has(column: string, kind: Kind): boolean {
    const facts = this.#facts.get(column) ?? this.#nested.get(column)
    if (!facts || facts.filled === 0) return kind === 'string' && facts !== undefined
    const most = (count: number) => count >= facts.filled * MOST
    const everywhere = facts.filled >= this.#rows.length * MOST
    const repeats = facts.longest <= 80 && facts.values.size <= Math.max(2, facts.filled / 2)
    switch (kind) {
      case 'text':
        return everywhere && most(facts.strings)
      case 'string':
        return most(facts.strings)
      case 'filled':
        return everywhere
      case 'present':
        return true
      case 'short':
        return everywhere && most(facts.strings) && repeats
      case 'class':
        return everywhere && most(facts.strings + facts.numbers) && repeats
      case 'truth':
        return everywhere && facts.truths === facts.filled
      case 'ids':
        return everywhere && most(facts.idLists)
      case 'turns':
        return most(facts.turnLists)
      case 'from-value':
        return most(facts.fromValue)
    }
  }

  /** How many different values were seen. */
  variety(column: string): number {
    return this.#facts.get(column)?.values.size ?? 0
  }

  /** Of exactly two text columns, the one that repeats as the class and the other as the text. */
  textAndClass(): { text: string; label: string } | undefined {
    const texts = [...this.#facts.keys()].filter((column) => this.has(column, 'text'))
    if (texts.length !== 2 || this.#facts.size !== 2) return undefined
    const [first, second] = texts as [string, string]
    const isClass = (column: string) =>
      this.has(column, 'class') && this.variety(column) * 4 <= Math.max(8, this.#rows.length)
    if (isClass(first) === isClass(second)) return undefined
    return isClass(first) ? { label: first, text: second } : { text: first, label: second }
  }

  /** The text column where there is just one, and no other column of texts. */
  onlyText(): string | undefined {
    const texts = [...this.#facts.keys()].filter((column) => this.has(column, 'text'))
    return texts.length === 1 && this.#facts.size === 1 ? texts[0] : undefined
  }

  /** The two columns with the longest texts, in the order of the file; undefined where there are not two of texts. */
  longestTexts(): [string, string] | undefined {
    const names = [...this.#facts.keys()].filter((column) => this.has(column, 'text'))
    const letters = (column: string) => this.#facts.get(column)?.letters ?? 0
    const [first, second] = names.toSorted((a, b) => letters(b) - letters(a))
    if (first === undefined || second === undefined) return undefined
    return names.indexOf(first) < names.indexOf(second) ? [first, second] : [second, first]
  }

  #study(column: string): Facts {
    const facts: Facts = {
      filled: 0,
      strings: 0,
      numbers: 0,
      truths: 0,
      idLists: 0,
      turnLists: 0,
      fromValue: 0,
      longest: 0,
      letters: 0,
      values: new Set(),
    }
    for (const row of this.#rows) {
      const value = valueAt(row, column)
      if (value === undefined || value === null || value === '' || (Array.isArray(value) && value.length === 0))
        continue
      facts.filled++
      if (typeof value === 'string') {
        facts.strings++
        facts.letters += value.length
      }
      if (typeof value === 'number' || typeof value === 'bigint') facts.numbers++
      if (truthOf(value) !== undefined) facts.truths++
      if (typeof value !== 'object') {
        facts.longest = Math.max(facts.longest, String(value).length)
        facts.values.add(String(value))
      }
      studyList(listOf(value), facts)
    }
    return facts
  }
}

function studyList(list: unknown[] | undefined, facts: Facts): void {
  if (!list || list.length === 0) return
  if (list.every((item) => Number.isInteger(item) || typeof item === 'bigint')) facts.idLists++
  if (!list.every(isTurn)) return
  facts.turnLists++
  if (list.every(isShareGptTurn)) facts.fromValue++
}

/** Paths one level into objects, and into the first object of lists, that are not turns. */
function nestedPaths(column: string, rows: readonly RawRow[]): string[] {
  const value = rows.find((row) => row[column] !== undefined && row[column] !== null)?.[column]
  if (isObject(value)) return Object.keys(value).map((key) => `${column}.${key}`)
  const first = Array.isArray(value) ? (value[0] as unknown) : undefined
  return isObject(first) && !isTurn(first) ? Object.keys(first).map((key) => `${column}.0.${key}`) : []
}
