/** Applies steps to rows. Refuses to change the rows it is given: what changes is copied. */
import { audit, type AuditOptions } from '../audit/audit'
import { maskPersonal } from '../audit/personal'
import { permutation } from '../batch/random'
import { isTurn } from '../formats/turns'
import { isRecord, listOf, textOf, valueAt } from '../formats/values'
import type { Mapping } from '../../shared/records'
import type { RawRow } from '../types'
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
  options: AuditOptions,
): Promise<Applied> {
  let state = { rows: [...rows], mapping }
  const counts: number[] = []
  for (const step of steps) {
    state = await applyStep(state, step, options)
    counts.push(state.rows.length)
  }
  return { ...state, counts }
}

interface State {
  rows: RawRow[]
  mapping: Mapping
}

async function applyStep({ rows, mapping }: State, step: Step, options: AuditOptions): Promise<State> {
  const each = (change: (row: RawRow) => RawRow): State => ({ rows: rows.map(change), mapping })
  switch (step.kind) {
    case 'map':
      return { rows, mapping: { ...step.mapping } }
    case 'system-prompt':
      return { rows, mapping: { ...mapping, systemPrompt: step.text } }
    case 'template':
      return each((row) => ({ ...row, [step.column]: fillTemplate(step.template, row) }))
    case 'rename-column':
      return {
        rows: rows.map((row) => renameColumn(row, step.from, step.to)),
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
    case 'drop-findings': {
      const report = await audit(rows, mapping, options)
      const dropped = new Set(
        report.findings
          .filter((finding) => finding.side === 'train' && step.findings.includes(finding.kind))
          .map((finding) => finding.row),
      )
      return { rows: rows.filter((_, i) => !dropped.has(i)), mapping }
    }
    case 'sample': {
      const chosen = [...permutation(rows.length, step.seed).subarray(0, step.rows)].sort((a, b) => a - b)
      return { rows: chosen.map((i) => rows[i] as RawRow), mapping }
    }
    case 'edit-row':
      return step.row < rows.length ? { rows: rows.with(step.row, step.value), mapping } : { rows, mapping }
    case 'delete-rows': {
      const gone = new Set(step.rows)
      return { rows: rows.filter((_, i) => !gone.has(i)), mapping }
    }
    case 'add-rows':
      return { rows: [...rows, ...step.rows], mapping }
  }
}

/** `{name}` replaced by the column's text; an unknown name by nothing; `{{` and `}}` are braces. */
export function fillTemplate(template: string, row: RawRow): string {
  return template.replace(/\{\{|\}\}|\{([^{}]+)\}/g, (whole, name: string | undefined) =>
    name === undefined ? (whole[0] as string) : textOf(valueAt(row, name)),
  )
}

function renameColumn(row: RawRow, from: string, to: string): RawRow {
  if (!Object.hasOwn(row, from)) return row
  return Object.fromEntries(
    Object.entries(row).flatMap(([name, value]) =>
      name === from ? [[to, value]] : name === to ? [] : [[name, value]],
    ),
  )
}

function renameInMapping(mapping: Mapping, from: string, to: string): Mapping {
  const columns = Object.entries(mapping.columns).map(([role, column]) => [role, column === from ? to : column])
  return { ...mapping, columns: Object.fromEntries(columns) as Record<string, string> }
}

function renameRole(row: RawRow, from: string, to: string): RawRow {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => {
      const turns = listOf(value)
      if (!turns?.some(isTurn)) return [name, value]
      return [name, turns.map((turn) => renamed(turn, from, to))]
    }),
  )
}

function renamed(turn: unknown, from: string, to: string): unknown {
  if (!isRecord(turn)) return turn
  if (turn.role === from) return { ...turn, role: to }
  return turn.from === from ? { ...turn, from: to } : turn
}

/** Every text of a row, also inside turns and lists; roles and ids stay as they are. */
function mapTexts(row: RawRow, change: (text: string) => string, columns?: readonly string[]): RawRow {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name,
      !columns || columns.includes(name) ? mapValue(value, change) : value,
    ]),
  )
}

const KEPT = new Set(['role', 'from', 'type', 'name', 'id', 'tool_call_id'])

function mapValue(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === 'string') return change(value)
  if (Array.isArray(value)) return value.map((item) => mapValue(item, change))
  if (!isRecord(value)) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, KEPT.has(key) ? inner : mapValue(inner, change)]),
  )
}
