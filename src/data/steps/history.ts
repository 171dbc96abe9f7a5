/** The list of steps and its undo, as values that are never changed in place. Refuses to apply steps. */
import { CodedError } from '../../shared/errors'
import { isObject } from '../../shared/json'
import type { DataRecipe, Step, StepHistory, StepKind } from './types'

export const NO_STEPS: StepHistory = { done: [], undone: [] }

/** Adds a step; what was undone before is forgotten. */
export function addStep(history: StepHistory, step: Step): StepHistory {
  return { done: [...history.done, step], undone: [] }
}

/** Takes the last step back, if there is one. */
export function undoStep(history: StepHistory): StepHistory {
  const last = history.done.at(-1)
  return last ? { done: history.done.slice(0, -1), undone: [...history.undone, last] } : history
}

/** Does again what was undone last, if anything was. */
export function redoStep(history: StepHistory): StepHistory {
  const next = history.undone.at(-1)
  return next ? { done: [...history.done, next], undone: history.undone.slice(0, -1) } : history
}

/** Takes any step out of the middle; the later ones stay, and what an audit found for them is to be found anew. */
export function removeStep(history: StepHistory, index: number): StepHistory {
  const done = history.done.filter((_, i) => i !== index)
  return { done: [...done.slice(0, index), ...unresolved(done.slice(index))], undone: [] }
}

/** Whether a step means the same on another file. */
export function travels(step: Step): boolean {
  return step.kind !== 'edit-row' && step.kind !== 'delete-rows' && step.kind !== 'add-rows'
}

/** The steps that mean the same on another file, to be saved; which rows an audit found is found anew there. */
export function toRecipe(history: StepHistory): DataRecipe {
  return { version: 1, steps: unresolved(history.done.filter(travels)) }
}

function unresolved(steps: readonly Step[]): Step[] {
  return steps.map((step) => {
    if (step.kind !== 'drop-findings' && step.kind !== 'drop-shared') return step
    const { rows: _found, ...rest } = step
    return rest
  })
}

const KINDS: Record<StepKind, readonly string[]> = {
  map: ['mapping'],
  'system-prompt': ['text'],
  template: ['column', 'template'],
  'rename-column': ['from', 'to'],
  'rename-role': ['from', 'to'],
  trim: [],
  replace: ['find', 'replacement'],
  'mask-personal': ['kinds'],
  'drop-findings': ['findings'],
  'drop-shared': ['with', 'name'],
  sample: ['rows', 'seed'],
  'edit-row': ['row', 'value'],
  'delete-rows': ['rows'],
  'add-rows': ['rows'],
}

/**
 * A saved recipe, checked.
 * @throws CodedError `data.row` naming the step that is not understood.
 */
export function readRecipe(value: unknown): DataRecipe {
  const steps = isObject(value) && value.version === 1 ? value.steps : undefined
  if (!Array.isArray(steps)) throw notUnderstood('It is not a data recipe.', '')
  steps.forEach((step: unknown, i) => {
    const kind = isObject(step) ? String(step.kind) : ''
    const needs = Object.hasOwn(KINDS, kind) ? KINDS[kind as StepKind] : undefined
    if (!needs) throw notUnderstood(`The step "${kind}" is not known.`, `step ${i + 1}`)
    const missing = needs.find((name) => (step as Record<string, unknown>)[name] === undefined)
    if (missing !== undefined) throw notUnderstood(`The step "${kind}" has no "${missing}".`, `step ${i + 1}`)
  })
  return { version: 1, steps: steps as Step[] }
}

function notUnderstood(what: string, where: string): CodedError {
  return new CodedError('data.row', what, { where, fix: 'Save the recipe again from the Data page.' })
}
