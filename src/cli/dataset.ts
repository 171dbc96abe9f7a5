/** A dataset file as rows with their mapping, and as tokens. Refuses rows that it cannot read, and says which. */
import type { ImportedData } from '../data'
import { importFile } from '../data'
import { join } from 'node:path'
import { CodedError } from '../shared/errors'
import { openStream } from './folder'
import { ROOT } from './model-folder'
import type { Output } from './output'

/** Most set-aside rows that are listed one by one. */
const LISTED = 5

/**
 * Reads a file and recognises its format.
 * @throws CodedError of the `data.` and `file.` families; `data.empty` where not one row can be used.
 */
export async function readDataset(path: string, output: Output, signal: AbortSignal): Promise<ImportedData> {
  const source = await openStream(sampleFile(path) ?? path)
  const data = await importFile(source, (progress) => output.progress(progress), signal)
  output.endBar()
  reportProblems(path, data, output)
  if (data.rows.length === 0) {
    throw new CodedError('data.empty', 'The file has no row that can be used.', {
      where: data.problems[0] ? `${path}, line ${data.problems[0].line}: ${data.problems[0].reason}` : path,
      fix: 'Give a JSON, JSONL, CSV, TSV, Parquet or text file with examples.',
    })
  }
  return data
}

/** The file of `sample:NAME`, a dataset that comes with Finetab. */
function sampleFile(given: string): string | undefined {
  const name = /^sample:([\w.-]+)$/.exec(given)?.[1]
  return name && join(ROOT, 'public', 'datasets', `${name}.jsonl`)
}

/** Lists rows that were left out when rows were turned into tokens. */
export function reportSkipped(
  path: string,
  skipped: readonly { index: number; reason: string }[],
  output: Output,
): void {
  for (const { index, reason } of skipped.slice(0, LISTED))
    output.warn(`Left out: ${path}, row ${index + 1}: ${reason}`)
  if (skipped.length > LISTED) output.warn(`Left out: ${skipped.length - LISTED} more rows.`)
}

function reportProblems(path: string, data: ImportedData, output: Output): void {
  for (const { line, reason } of data.problems.slice(0, LISTED)) {
    output.warn(`Set aside: ${path}, line ${line}: ${reason}`)
  }
  if (data.problems.length > LISTED) output.warn(`Set aside: ${data.problems.length - LISTED} more rows.`)
}
