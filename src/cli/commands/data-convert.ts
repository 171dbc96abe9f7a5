/** `finetab data convert`: a dataset as a file of another format. Refuses to drop what that format cannot say: such rows are set aside. */
import { CodedError } from '../../shared/errors'
import { completeJob } from '../../shared/job'
import type { CommandContext } from '../context'
import { convertRows, fileChunks, openDataRows, rowFileOf, type Written } from '../data-rows'
import { requireFlags } from '../flags'
import { writeFileSafely } from '../folder'

/** Rows set aside that are listed one by one. */
const LISTED = 5

/** Runs the command; the exit code. */
export async function dataConvert(context: CommandContext): Promise<number> {
  const { given, options, output } = context
  requireFlags('data convert', new Set(Object.keys(given)))
  const path = options['out-file']
  const file = path === undefined ? 'jsonl' : rowFileOf(path)
  if (path === undefined && output.json) {
    throw new CodedError('usage', '--json and rows on stdout exclude each other.', {
      where: '--json',
      fix: 'Give --out-file FILE for the rows.',
    })
  }
  const data = await openDataRows(context, completeJob(given))
  const written = convertRows(data, options.to)
  refuseNothing(written)
  const chunks = fileChunks(written.rows, file)
  if (path === undefined) for (const chunk of chunks) output.bytes(chunk)
  else await writeFileSafely(path, new Uint8Array(await new Blob([...chunks] as BlobPart[]).arrayBuffer()))
  const { rows, problems } = written
  output.event('converted', { out: path, rows: rows.length, problems, steps: data.counts })
  for (const { line, reason } of problems.slice(0, LISTED)) output.warn(`Set aside: row ${line}: ${reason}`)
  if (problems.length > LISTED) output.warn(`Set aside: ${problems.length - LISTED} more rows.`)
  if (path !== undefined) output.result(`${rows.length.toLocaleString('en')} rows in ${path}\n`)
  return 0
}

/** @throws CodedError `data.row` where not one row could be written. */
export function refuseNothing({ rows, problems }: Written): void {
  const [first] = problems
  if (rows.length > 0) return
  throw first
    ? new CodedError('data.row', `None of the ${problems.length} rows can be written: ${first.reason}`, {
        where: '--to',
        fix: 'Choose a format that has a place for all that the rows say.',
      })
    : new CodedError('data.empty', 'There are no rows left to write.', { fix: 'Look at the steps of the recipe.' })
}
