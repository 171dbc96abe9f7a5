/** `finetab handoff`: a job with its rows for LLaMA-Factory, TRL, mlx-lm and Ray Tune. Refuses to train. */
import { resolve } from 'node:path'
import { handoffRows, runSides } from '../../data'
import { inspectModel } from '../../engine'
import { handoffFiles } from '../../engine/export/handoff/files'
import { loadTokenizer } from '../../engine/tokenizer'
import { loadChatTemplate } from '../../engine/tokenizer/chat-template'
import { completeJob } from '../../shared/job'
import { openAdapter } from '../adapter'
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
  const held = job.evalData ? await readDataset(job.evalData, output, interrupt.signal) : undefined
  const tokenizer = await loadTokenizer(folder.source)
  const template = await loadChatTemplate(folder.source, tokenizer)
  const side = await runSides(data.rows, data.mapping, tokenizer, template, job, {
    ...{ evaluation: held, total: data.rows.length, signal: interrupt.signal },
  })
  const rows = await handoffRows(data.rows, data.mapping, job, template.builtIn === null, side, held)
  const out = resolve(options.out ?? '')
  const files = handoffFiles({
    ...rows,
    ...{ job, name: options.name ?? 'Finetab job', template },
    model: folder.id.startsWith('bundled:') ? folder.path : resolve(folder.path),
    layers: model.layers,
    start: job.initAdapter ? await openAdapter(job.initAdapter) : null,
  })
  await prepareFolder(out)
  await writeOutFiles(out, files, { check: async () => {} })
  const names = files.map(({ name }) => name)
  output.event('done', {
    out,
    files: names,
    rows: rows.train.rows,
    valid_rows: rows.valid.rows,
    left_out: rows.leftOut.rows,
  })
  output.note(`${out}: ${names.join(', ')}`)
  output.note(`What does not carry over stands in ${out}/README.md.`)
  return 0
}
