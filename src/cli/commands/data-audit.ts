/** `finetab data audit`: what in a dataset spoils training, per row and in total. Refuses to change a row; a recipe does that. */
import { asSupervised, audit, type AuditReport } from '../../data'
import { loadTokenizer } from '../../engine/tokenizer'
import { loadChatTemplate } from '../../engine/tokenizer/chat-template'
import { completeJob } from '../../shared/job'
import type { CommandContext } from '../context'
import { openDataRows } from '../data-rows'
import { readDataset } from '../dataset'
import { requireFlags } from '../flags'
import { openModelFolder } from '../model-folder'
import { factTable } from '../output'

/** Findings of a kind that are listed one by one. */
const LISTED = 3

/** Runs the command; the exit code. */
export async function dataAudit(context: CommandContext): Promise<number> {
  const { given, output, interrupt } = context
  requireFlags('data audit', new Set(Object.keys(given)))
  const job = completeJob(given)
  const folder = given.model === undefined ? null : await openModelFolder(job.model)
  const tokenizer = folder && (await loadTokenizer(folder.source))
  const model =
    folder && tokenizer ? { tokenizer, template: await loadChatTemplate(folder.source, tokenizer) } : undefined
  const data = await openDataRows(context, job, model)
  const held = job.evalData === '' ? null : await readDataset(job.evalData, output, interrupt.signal)
  const report = await audit(data.rows, asSupervised(data.mapping), {
    ...job,
    model,
    evaluation: held ? { rows: held.rows, mapping: asSupervised(held.mapping) } : undefined,
    total: data.rows.length,
    onProgress: (progress) => output.progress(progress),
    signal: interrupt.signal,
  })
  output.endBar()
  output.event('audit', { file: given.data, mapping: data.mapping, set_aside: data.problems, ...report })
  output.result(`${report.verdict}\n\n${factTable(facts(report))}${findings(report)}`)
  return 0
}

function facts(report: AuditReport): [string, string][] {
  const share = (value: number) => `${(100 * value).toFixed(0)} %`
  const { lengths, padding, suggestedMaxLength, languages, classes } = report
  const lines: [string, string][] = [
    ['Rows', `${report.rows.toLocaleString('en')}, ${report.goodRows.toLocaleString('en')} of them good`],
  ]
  if (lengths) {
    const { rows, answers } = lengths
    lines.push(['Row length', `${rows.min} to ${rows.max} tokens, median ${rows.median}, 95 % up to ${rows.p95}`])
    lines.push(['Answers', `median ${answers.median} tokens, 95 % up to ${answers.p95}`])
  }
  if (suggestedMaxLength !== null) lines.push(['Max. length', `${suggestedMaxLength} tokens would cut hardly a row`])
  if (padding)
    lines.push([
      'Padding',
      `${share(padding.shuffled)} of a batch; ${share(padding.bucketed)} with --group-by-length, ${share(padding.packed)} with --packing`,
    ])
  const told = Object.entries(languages).sort((a, b) => b[1] - a[1])
  lines.push(['Languages', told.map(([code, rows]) => `${code || 'not told'} ${rows}`).join(', ') || 'none'])
  if (classes) lines.push(['Classes', `${Object.keys(classes).length}`])
  return lines
}

/** Each kind of finding with its number and the first few rows. */
function findings(report: AuditReport): string {
  const lines: string[] = []
  for (const [kind, count] of Object.entries(report.counts)) {
    if (count === 0) continue
    lines.push('', `${kind}: ${count}`)
    const some = report.findings.filter((finding) => finding.kind === kind).slice(0, LISTED)
    for (const { row, side, text } of some)
      lines.push(`  ${side === 'eval' ? 'validation ' : ''}row ${row + 1}: ${text}`)
  }
  return lines.length > 0 ? `${lines.join('\n')}\n` : '\nNothing was found.\n'
}
