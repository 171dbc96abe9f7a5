/** Applies steps to rows in memory. Refuses to change the rows it is given: what changes is copied. */
import type { Mapping } from '../../shared/records'
import type { RawRow } from '../types'
import { resolveStep, SteppedRows, type StepOptions } from './rows'
import type { Step } from './types'

export interface Applied {
  rows: RawRow[]
  mapping: Mapping
  /** Rows after each step, in the order of the steps. */
  counts: number[]
}

/**
 * Rows and mapping after all steps.
 * @param options what an audit needs, for steps that leave out rows with findings.
 */
export async function applySteps(
  rows: readonly RawRow[],
  mapping: Mapping,
  steps: readonly Step[],
  options: StepOptions,
): Promise<Applied> {
  const source = { count: rows.length, slice: async (from: number, to: number) => rows.slice(from, to) }
  let stepped = SteppedRows.of(source, mapping, [])
  for (const step of steps) stepped = stepped.after(await resolveStep(stepped, step, options))
  return { rows: await stepped.slice(0, stepped.count), mapping: stepped.mapping, counts: [...stepped.counts] }
}
