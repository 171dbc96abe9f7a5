/** `finetab data split`: a dataset in two files, as training would divide it. Refuses rows that cannot be used: they are set aside. */
import { join, resolve } from 'node:path'
import { asSupervised, mapRow, Splitter, type RawRow } from '../../data'
import { CodedError, toReport } from '../../shared/errors'
import { completeJob, type Job } from '../../shared/job'
import type { CommandContext } from '../context'
import { convertRows, fileChunks, openDataRows, type DataRows, type Written } from '../data-rows'
import { requireFlags } from '../flags'
import { prepareFolder, writeFileSafely } from '../folder'
import { refuseNothing } from './data-convert'

/** Runs the command; the exit code. */
export async function dataSplit(context: CommandContext): Promise<number> {
  const { given, options, output } = context
  requireFlags('data split', new Set([...Object.keys(given), ...Object.keys(options)]))
  const job = completeJob(given)
  const out = resolve(options.out ?? '')
  const data = await openDataRows(context, job)
  const usable = usableRows(data)
  refuseNothing(usable)
  await prepareFolder(out)
  const split = splitOf(usable.rows, data, job)
  const counts: Record<string, number> = {}
  const problems = [...usable.problems]
  for (const [name, indices] of [
    ['train', split.train],
    ['validation', split.eval],
  ] as const) {
    const side = { ...data, rows: indices.map((i) => usable.rows[i] as RawRow) }
    const written = convertRows(side, options.to)
    problems.push(...written.problems)
    const bytes = await new Blob([...fileChunks(written.rows, 'jsonl')] as BlobPart[]).arrayBuffer()
    await writeFileSafely(join(out, `${name}.jsonl`), new Uint8Array(bytes))
    counts[name] = written.rows.length
  }
  output.event('split', { out, ...counts, problems, by: job.evalSplit, seed: job.seed })
  if (problems.length > 0) output.warn(`Set aside: ${problems.length} rows; the first: ${problems[0]?.reason}`)
  output.result(`${counts.train} rows to train on and ${counts.validation} for validation in ${out}\n`)
  return 0
}

/** Rows that say what their format needs, with the reasons of the others. */
function usableRows({ rows, mapping }: DataRows): Written {
  const usable: Written = { rows: [], problems: [] }
  rows.forEach((row, i) => {
    try {
      mapRow(row, asSupervised(mapping))
      usable.rows.push(row)
    } catch (error) {
      if (!(error instanceof CodedError)) throw error
      // A worse answer is no fault: such rows are part of the dataset, only not of what is learnt by heart.
      if (mapping.format === 'kto') usable.rows.push(row)
      else usable.problems.push({ line: i + 1, reason: toReport(error).what, text: JSON.stringify(row).slice(0, 200) })
    }
  })
  return usable
}

function splitOf(rows: readonly RawRow[], { mapping }: DataRows, job: Job): ReturnType<Splitter['split']> {
  const splitter = new Splitter(job)
  const supervised = asSupervised(mapping)
  for (const row of rows) {
    const { desirable: _any, ...columns } = supervised.columns
    splitter.add(row, mapRow(row, { ...supervised, columns }))
  }
  return splitter.split()
}
