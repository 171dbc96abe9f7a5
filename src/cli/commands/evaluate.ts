/** `finetab evaluate`: the loss of each row and of all, under the same conventions as training. Refuses to train. */
import { prepare } from '../../data'
import { evaluate as measure } from '../../engine'
import { completeJob } from '../../shared/job'
import type { CommandContext } from '../context'
import { readDataset, reportSkipped } from '../dataset'
import { requireFlags } from '../flags'
import { openModelFolder } from '../model-folder'
import { formatNumber, tableRow } from '../output'
import { loadAdapterFolder, loadModelFolder, openBackend } from '../runtime'

const COLUMNS = [
  { title: 'row', width: 6 },
  { title: 'loss', width: 8 },
  { title: 'tokens', width: 7 },
  { title: 'right', width: 6 },
]

/** Runs the command; the exit code. */
export async function evaluate(context: CommandContext): Promise<number> {
  const { options, given, output, interrupt } = context
  requireFlags('evaluate', new Set(Object.keys(given)))
  const folder = await openModelFolder(String(given.model))
  const data = await readDataset(String(given.data), output, interrupt.signal)
  await openBackend(completeJob(given).backend, context)
  const model = await loadModelFolder(folder, context)
  const adapter = await loadAdapterFolder(model, options.adapter)
  // Nothing is cut off that the model can read.
  const job = completeJob({ maxLength: model.record.context, ...given, evalFraction: 0 })
  const rows = await prepare(data.rows, data.mapping, model.tokenizer, model.chatTemplate, job, {
    signal: interrupt.signal,
  })
  reportSkipped(job.data, rows.skipped, output)
  if (rows.truncatedRows > 0) output.warn(`${rows.truncatedRows} rows were cut at ${job.maxLength} tokens.`)
  output.result(
    `${tableRow(
      COLUMNS.map(({ title }) => title),
      COLUMNS,
    )}\n`,
  )
  const total = await measure(model, adapter, rows.train, (row) => {
    interrupt.signal.throwIfAborted()
    output.event('row', { index: row.index, loss: row.loss, tokens: row.tokens, correct: row.correct })
    output.result(`${tableRow([row.index + 1, row.loss, row.tokens, row.correct], COLUMNS)}\n`)
  })
  const { loss, perplexity, tokenAccuracy, tokens } = total
  output.event('total', { loss, perplexity, token_accuracy: tokenAccuracy, tokens, rows: total.rows.length })
  output.result(
    `\nLoss ${formatNumber(loss)} · perplexity ${formatNumber(perplexity)} · ` +
      `${(100 * tokenAccuracy).toFixed(1)} % of ${tokens} tokens right · ${total.rows.length} rows\n`,
  )
  return 0
}
