/** What a person gives as a dataset, as files to read: chosen ones, those of zips, pasted text, an address. Refuses to read them. */
import type { DataFile } from '../src/data'
import { zipFiles } from '../src/engine/formats/zip'
import { datasetFile } from '../src/hub'
import type { DataSource } from '../src/shared/protocol'

/** Endings that say nothing to a person who looks for a name. */
const ENDINGS = /(\.(jsonl?|ndjson|csv|tsv|txt|md|markdown|parquet|gz|zip))+$/i

/** The files that a source stands for, and what the dataset is called. */
interface GivenFiles {
  files: DataFile[]
  name: string
  /** As the record has it. */
  file: string
  bytes: number
}

/** @throws CodedError `usage` and `hub.…` for addresses, `file.…` for zips. */
export async function givenFiles(source: DataSource, signal: AbortSignal): Promise<GivenFiles> {
  if ('address' in source) {
    const remote = await datasetFile(source.address, { token: source.token }, signal)
    return named([remote], [remote.name], remote.size)
  }
  const chosen = Array.isArray(source)
    ? source
    : [source instanceof File ? source : new File([source.text], source.name)]
  const lists = await Promise.all(chosen.map((file) => (/\.zip$/i.test(file.name) ? zipFiles(file) : [fileOf(file)])))
  const bytes = chosen.reduce((sum, file) => sum + file.size, 0)
  return named(lists.flat(), chosen.map((file) => file.name), bytes) // prettier-ignore
}

function named(files: DataFile[], names: readonly string[], bytes: number): GivenFiles {
  const [first = ''] = names
  const bare = first.replace(ENDINGS, '') || first
  const more = names.length - 1
  return { files, name: more > 0 ? `${bare} and ${more} more` : bare, file: names.join(', '), bytes }
}

function fileOf(file: File): DataFile {
  const slice = (start: number, end: number) => file.slice(start, end).arrayBuffer()
  return { name: file.name, size: file.size, open: () => file.stream(), slice }
}
