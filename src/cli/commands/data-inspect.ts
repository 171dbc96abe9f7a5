/** `finetab data inspect`: what a dataset is taken for, and its first rows. Refuses to need a model. */
import { asSupervised, mapRow, type Example, type RawRow } from '../../data'
import { CodedError, toReport } from '../../shared/errors'
import { completeJob } from '../../shared/job'
import type { Mapping } from '../../shared/records'
import { formatInfo } from '../../shared/roles'
import type { CommandContext } from '../context'
import { openDataRows } from '../data-rows'
import { requireFlags } from '../flags'
import { factTable } from '../output'

/** Rows that are shown. */
const SHOWN = 3

/** Runs the command; the exit code. */
export async function dataInspect(context: CommandContext): Promise<number> {
  const { given, output } = context
  requireFlags('data inspect', new Set(Object.keys(given)))
  const data = await openDataRows(context, completeJob(given))
  const { kind, mapping, why, columns, problems, counts } = data
  const first = data.rows.slice(0, SHOWN).map((row) => exampleOf(row, mapping))
  output.event('data', {
    file: given.data,
    kind,
    rows: data.rows.length,
    problems,
    mapping,
    why,
    columns,
    steps: counts,
    examples: first,
  })
  const roles = Object.entries(mapping.columns).map(([role, column]) => `${role} = ${column}`)
  output.result(
    factTable([
      ['Dataset', String(given.data)],
      ['Written as', kind],
      ['Rows', `${data.rows.length.toLocaleString('en')} (${problems.length} set aside)`],
      ['Format', `${formatInfo(mapping.format)?.label ?? 'not known'}: ${why}`],
      ['Columns', columns.join(', ') || 'none'],
      ...(roles.length > 0 ? [['Roles', roles.join(', ')] as const] : []),
      ...first.map((example, i) => [`Row ${i + 1}`, clip(JSON.stringify(example))] as const),
    ]),
  )
  return 0
}

/** What a row says, or why it cannot be used. */
function exampleOf(row: RawRow, mapping: Mapping): Example | { problem: string } {
  try {
    return mapRow(row, asSupervised(mapping))
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    return { problem: toReport(error).what }
  }
}

function clip(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text
}
