/** `finetab inspect`: what a model or a dataset is, without a device. Refuses to change anything. */
import { datasetStats, previewRow } from '../../data'
import { inspectModel } from '../../engine'
import { loadTokenizer } from '../../engine/tokenizer'
import { loadChatTemplate } from '../../engine/tokenizer/chat-template'
import { completeJob } from '../../shared/job'
import type { DatasetStats, ModelRecord } from '../../shared/records'
import type { CommandContext } from '../context'
import { readDataset } from '../dataset'
import { requireFlags } from '../flags'
import type { ModelFolder } from '../model-folder'
import { openModelFolder } from '../model-folder'
import { factTable as table, formatBytes } from '../output'

/** Runs the command; the exit code. */
export async function inspect(context: CommandContext): Promise<number> {
  const { given } = context
  requireFlags('inspect', new Set(Object.keys(given)))
  const folder = given.model === undefined ? null : await openModelFolder(String(given.model))
  const record = folder && (await inspectModel(folder.source, folder.id, folder.name))
  if (record) reportModel(record, context)
  if (given.data !== undefined) await inspectData(folder && record ? { folder, record } : null, context)
  return 0
}

function reportModel(record: ModelRecord, { output }: CommandContext): void {
  const { shape } = record
  output.event('model', { ...record })
  output.result(
    table([
      ['Model', record.name],
      ['Family', record.family],
      ['Parameters', record.parameters.toLocaleString('en')],
      ['Vocabulary', record.vocabulary.toLocaleString('en')],
      ['Context', `${record.context.toLocaleString('en')} tokens`],
      ['Layers', `${record.layers} of ${record.hidden}, ${shape.heads} heads, ${shape.kvHeads} for keys and values`],
      ['Weights', `${record.dtype}, ${formatBytes(record.bytes)} in all`],
      ['Output layer', shape.tiedHead ? 'shared with the embeddings' : 'its own'],
      ['Chat template', record.hasChatTemplate ? 'its own' : 'none'],
    ]),
  )
}

async function inspectData(
  model: { folder: ModelFolder; record: ModelRecord } | null,
  context: CommandContext,
): Promise<void> {
  const { given, output, interrupt } = context
  const path = String(given.data)
  const data = await readDataset(path, output, interrupt.signal)
  const { mapping, why, columns } = data
  output.event('data', { file: path, rows: data.rows.length, problems: data.problems, mapping, why, columns })
  output.result(
    table([
      ['Dataset', path],
      ['Rows', `${data.rows.length.toLocaleString('en')} (${data.problems.length} set aside)`],
      ['Format', `${mapping.format}: ${why}`],
      ['Columns', columns.join(', ') || 'none'],
    ]),
  )
  if (!model) return
  const job = completeJob({ maxLength: model.record.context, ...given })
  const tokenizer = await loadTokenizer(model.folder.source)
  const template = await loadChatTemplate(model.folder.source, tokenizer)
  const stats = await datasetStats(data.rows, mapping, tokenizer, template, job, { signal: interrupt.signal })
  const row = data.rows[0]
  const preview = row && previewRow(row, 0, mapping, tokenizer, template, job)
  output.event('stats', { ...stats })
  if (preview) output.event('preview', { ...preview })
  output.result(table(statsLines(stats)))
  if (!preview) return
  const text = (trained: boolean) =>
    preview.tokens.map((token) => (token.trained === trained ? token.text : '')).join('')
  output.result(
    table([
      ['First row', preview.problem ?? `${preview.tokens.length} tokens, ${preview.trainedTokens} of them trained`],
      ['  prompt', JSON.stringify(text(false))],
      ['  trained', JSON.stringify(text(true))],
    ]),
  )
}

function statsLines(stats: DatasetStats): [string, string][] {
  const { lengths } = stats
  return [
    ['Tokens', `${stats.tokens.toLocaleString('en')}, ${stats.trainedTokens.toLocaleString('en')} of them trained`],
    ['Row length', `${lengths.min} to ${lengths.max} tokens, median ${lengths.median}, 95 % up to ${lengths.p95}`],
    ['Cut', `${stats.truncatedRows} rows`],
    ['Repeated', `${stats.duplicateRows} rows; ${stats.conflictingPrompts} prompts with different answers`],
    ['Split', `${stats.trainRows} to train on, ${stats.evalRows} for validation`],
    ['Verdict', stats.verdict],
  ]
}
