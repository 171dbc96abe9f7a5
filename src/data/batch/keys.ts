/** By what rows are kept in proportion or together when some are held back. Refuses a column that no row has. */
import { CodedError } from '../../shared/errors'
import type { Job } from '../../shared/job'
import { partsOf } from '../formats/parts'
import { textOf, valueAt } from '../formats/values'
import { fingerprint } from '../hash'
import type { Example, RawRow } from '../types'
import { splitRows, type Split } from './split'

/** The settings that say which rows are held back for validation. */
export type SplitSettings = Pick<Job, 'evalFraction' | 'seed'> & Partial<Pick<Job, 'evalSplit' | 'splitBy'>>

/** Gathers the keys of usable rows, in order, and splits them. */
export class Splitter {
  readonly #settings: SplitSettings
  readonly #keys: string[] = []
  #count = 0
  #named = false

  constructor(settings: SplitSettings) {
    this.#settings = settings
  }

  add(row: RawRow, example: Example): void {
    this.#count++
    const { evalSplit = 'random', splitBy = '' } = this.#settings
    if (evalSplit === 'random') return
    if (splitBy !== '') {
      const value = valueAt(row, splitBy)
      this.#named ||= value !== undefined
      this.#keys.push(textOf(value))
    } else {
      const { prompt, answer } = partsOf(example)
      this.#keys.push(String(fingerprint(evalSplit === 'stratified' ? answer : prompt || answer)))
    }
  }

  /** @throws CodedError `data.columns` where no row has the column to split by. */
  split(): Split {
    const { evalFraction, seed, evalSplit = 'random', splitBy = '' } = this.#settings
    if (evalSplit !== 'random' && splitBy !== '' && !this.#named && this.#count > 0 && evalFraction > 0) {
      throw new CodedError('data.columns', `No row has the column "${splitBy}" to split by.`, {
        where: 'splitBy',
        fix: 'Name a column of the dataset, or split at random.',
      })
    }
    if (evalSplit === 'grouped' && evalFraction > 0 && this.#count > 1 && new Set(this.#keys).size < 2) {
      throw new CodedError('data.columns', 'All rows belong to one group, so that none can be held back.', {
        where: splitBy || 'splitBy',
        fix: 'Split by another column, or at random.',
      })
    }
    return splitRows(this.#count, evalFraction, seed, evalSplit, this.#keys)
  }
}
