/** `finetab handoff`: a job with its rows for LLaMA-Factory, TRL, mlx-lm and Ray Tune. Refuses to train. */
import { resolve } from 'node:path'
import { handoffRows, splitRows } from '../../data'
import { inspectModel } from '../../engine'
import { handoffFiles } from '../../engine/export/handoff/files'
import { bytesFile } from '../../engine/formats/out-file'
import { completeJob } from '../../shared/job'
import type { CommandContext } from '../context'
import { readDataset } from '../dataset'
import { requireFlags, type Given } from '../flags'
import { prepareFolder, writeOutFiles } from '../folder'
import { openModelFolder } from '../model-folder'
import { readJobFile } from '../settings'
import { readTraining } from '../training-record'

/** Runs the command; the exit code. */
export async function handoff(context: CommandContext): Promise<number> {
  const { options, output, interrupt } = context
  const run = options.adapter === undefined ? null : await readTraining(options.adapter)
  const given: Given = { ...run?.job, ...(options.job ? await readJobFile(options.job) : {}), ...context.given }
  requireFlags(
    'handoff',
    new Set([...Object.keys(given).filter((key) => given[key as keyof Given]), ...Object.keys(options)]),
  )
  const job = completeJob(given)
  const folder = await openModelFolder(job.model)
  const model = await inspectModel(folder.source, folder.id, folder.name)
  const data = await readDataset(job.data, output, interrupt.signal)
  const held = job.evalData ? await readDataset(job.evalData, output, interrupt.signal) : null
  const side = new Set(held ? [] : splitRows(data.rows.length, job.evalFraction, job.seed).eval)
  const rows = await handoffRows(data.rows, data.mapping, model.hasChatTemplate, (index) => side.has(index))
  const valid = held ? await handoffRows(held.rows, held.mapping, model.hasChatTemplate, () => false) : null
  const [validBytes, validRows] = valid ? [valid.train, valid.trainRows] : [rows.valid, rows.validRows]
  const out = resolve(options.out ?? '')
  const files = handoffFiles({
    ...{ job, name: options.name ?? 'Finetab job', kind: rows.kind, hasChatTemplate: model.hasChatTemplate },
    model: folder.id.startsWith('bundled:') ? folder.path : resolve(folder.path),
    train: bytesFile('train.jsonl', rows.train),
    valid: validRows > 0 ? bytesFile('valid.jsonl', validBytes) : null,
    ...{ trainRows: rows.trainRows, validRows, leftOutRows: rows.skipped.length + (valid?.skipped.length ?? 0) },
  })
  await prepareFolder(out)
  await writeOutFiles(out, files, { check: async () => {} })
  const names = files.map(({ name }) => name)
  output.event('done', {
    out,
    files: names,
    rows: rows.trainRows,
    valid_rows: validRows,
    left_out: rows.skipped.length,
  })
  output.note(`${out}: ${names.join(', ')}`)
  output.note(`What does not carry over stands in ${out}/README.md.`)
  return 0
}
