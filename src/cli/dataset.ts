/** A dataset file as rows with their mapping, and as tokens. Refuses rows that it cannot read, and says which. */
import { openAsBlob } from 'node:fs'
import { join } from 'node:path'
import type { DataFile, ImportedData } from '../data'
import { importFiles } from '../data'
import { zipFiles } from '../engine/formats/zip'
import { datasetFile, isAddress } from '../hub/dataset-file'
import { CodedError } from '../shared/errors'
import type { Job } from '../shared/job'
import { exists, folderSource, isFolder, openStream, readRange } from './folder'
import { ROOT } from './model-folder'
import type { Output } from './output'

/** Most set-aside rows that are listed one by one. */
const LISTED = 5

/**
 * Reads what `--data` names and recognises its format: a file, a zip or a folder of files, several with commas between them,
 * `sample:NAME`, or the address of a file.
 * @throws CodedError of the `data.` and `file.` families; `data.empty` where not one row can be used.
 */
export async function readDataset(path: string, output: Output, signal: AbortSignal): Promise<ImportedData> {
  const files = await dataFiles(path, signal)
  const data = await importFiles(files, (progress) => output.progress(progress), signal)
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

/**
 * {@link readDataset} for a command that works with what the rows mean.
 * @throws CodedError `data.columns` where that is not recognised, with the reason: only the page lets a person choose.
 */
export async function readExamples(path: string, output: Output, signal: AbortSignal): Promise<ImportedData> {
  const data = await readDataset(path, output, signal)
  if (data.mapping.format !== 'unknown') return data
  throw new CodedError('data.columns', data.why, {
    where: path,
    fix: 'On the command line, rename the columns to "prompt" and "completion" (or "text"), or write the rows anew with data convert and a recipe of the Data page.',
  })
}

/** The files that a path, a list of paths, a sample's name or an address stands for. */
async function dataFiles(given: string, signal: AbortSignal): Promise<DataFile[]> {
  if (isAddress(given)) return [await datasetFile(given, { token: process.env.HF_TOKEN ?? '' }, signal)]
  if (given.includes(',') && !(await exists(given))) {
    const lists = await Promise.all(given.split(',').map((part) => dataFiles(part.trim(), signal)))
    return lists.flat()
  }
  const path = sampleFile(given) ?? given
  if (await isFolder(path)) {
    const names = await (await folderSource(path)).list()
    return Promise.all(names.map(({ name }) => oneFile(join(path, name))))
  }
  const file = await oneFile(path)
  return /\.zip$/i.test(path) ? zipFiles(await openAsBlob(path)) : [file]
}

/** @throws CodedError `file.missing`, `file.unreadable` */
async function oneFile(path: string): Promise<DataFile> {
  const { name, size, stream } = await openStream(path)
  await stream.cancel()
  const blob = await openAsBlob(path)
  return { name, size, open: () => blob.stream(), slice: (start, end) => blob.slice(start, end).arrayBuffer() }
}

/** The file of `sample:NAME`, a dataset that comes with Finetab. */
function sampleFile(given: string): string | undefined {
  const name = /^sample:([\w.-]+)$/.exec(given)?.[1]
  return name && join(ROOT, 'public', 'datasets', `${name}.jsonl`)
}

/** What was measured to suit `sample:NAME` on a bundled model; nothing for other datasets and models. */
export async function sampleSettings(given: string, modelId: string): Promise<Partial<Job>> {
  if (!sampleFile(given) || !modelId.startsWith('bundled:')) return {}
  const index = new TextDecoder().decode(await readRange(join(ROOT, 'public', 'datasets', 'index.json')))
  const samples = JSON.parse(index) as { id: string; suggested?: Partial<Job> }[]
  return samples.find(({ id }) => `sample:${id}` === given)?.suggested ?? {}
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
