/** Changes to a dataset as plain data: recorded, undone, saved as a recipe and run again on the next file. Refuses behaviour. */
import type { FindingKind, PersonalKind } from './audit'
import type { Mapping } from './records'

/** A row as it stood in its file. */
type Row = Record<string, unknown>

/** Where a row that a model wrote comes from: the model's name, and the number of the row that it varies. */
export interface RowOrigin {
  model: string
  row: number
}

/**
 * One change. Rows are named by their number in the file (0-based, whatever was left out before), so that a step in the
 * middle can be taken out without the later ones meaning other rows; rows written by hand are numbered on from the file's.
 * Steps that name rows fit only the file they were made on.
 */
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
  /**
   * Leaves out rows with such findings; of rows that contradict each other the first is kept, or the one with the longest
   * answer. `rows` are those that an audit found when the step was made; without them it is made anew.
   */
  | { kind: 'drop-findings'; findings: FindingKind[]; keep?: 'first' | 'longest'; rows?: Uint32Array }
  /**
   * Leaves out rows that another dataset has too: word for word, nearly, or with the same prompt. `with` is its id (on the command
   * line a path), `name` what it is called; `rows` are those that were found when the step was made.
   */
  | { kind: 'drop-shared'; with: string; name: string; rows?: Uint32Array }
  | { kind: 'sample'; rows: number; seed: number }
  | { kind: 'edit-row'; row: number; value: Row }
  | { kind: 'delete-rows'; rows: number[] }
  /** `first` is the number of the first of them. */
  | { kind: 'add-rows'; rows: Row[]; first?: number; origin?: RowOrigin }

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
