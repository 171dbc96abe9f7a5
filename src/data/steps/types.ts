/** Changes to a dataset as plain data: recorded, undone, saved as a recipe and run again on the next file. Refuses behaviour. */
import type { FindingKind } from '../audit/types'
import type { PersonalKind } from '../audit/personal'
import type { Mapping } from '../../shared/records'
import type { RawRow } from '../types'

/** One change. Those that name row numbers fit only the file they were made on; {@link travels} tells. */
export type Step =
  | { kind: 'map'; mapping: Mapping }
  | { kind: 'system-prompt'; text: string }
  /** A column from a template: `{name}` stands for a column, `{{` and `}}` for braces. */
  | { kind: 'template'; column: string; template: string }
  | { kind: 'rename-column'; from: string; to: string }
  /** Roles of turns, in the columns that hold turns. */
  | { kind: 'rename-role'; from: string; to: string }
  | { kind: 'trim' }
  | { kind: 'replace'; find: string; replacement: string; columns?: string[] }
  | { kind: 'mask-personal'; kinds: PersonalKind[] }
  /** Leaves out rows with such findings. */
  | { kind: 'drop-findings'; findings: FindingKind[] }
  | { kind: 'sample'; rows: number; seed: number }
  | { kind: 'edit-row'; row: number; value: RawRow }
  | { kind: 'delete-rows'; rows: number[] }
  | { kind: 'add-rows'; rows: RawRow[] }

export type StepKind = Step['kind']

/** Steps done, and steps undone that can be done again. */
export interface StepHistory {
  readonly done: readonly Step[]
  readonly undone: readonly Step[]
}

/** A recipe as it is saved: runs again on another file. */
export interface DataRecipe {
  version: 1
  steps: Step[]
}
