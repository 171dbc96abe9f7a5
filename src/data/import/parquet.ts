/** Rows of a Parquet file, one row group at a time. Refuses values that JSON cannot hold: they become numbers, texts or lists. */
import { cancelled } from '../cancel'
import { CodedError } from '../../shared/errors'
import type { OnProgress } from '../../shared/files'
import type { AsyncBuffer } from 'hyparquet'
import type { Collector } from './collector'

/** A file that is read in pieces from any place. */
interface Ranges {
  byteLength: number
  slice(start: number, end: number): Promise<ArrayBuffer>
}

/**
 * Reads a file, from ranges of it or from memory; the reader is loaded only when it is needed.
 * @throws CodedError `file.unreadable`, `cancelled`.
 */
export async function readParquet(
  given: Uint8Array<ArrayBuffer> | Ranges,
  name: string,
  out: Collector,
  onProgress?: OnProgress,
  signal?: AbortSignal,
): Promise<void> {
  const [{ parquetMetadataAsync, parquetReadObjects }, { compressors }] = await Promise.all([
    import('hyparquet'),
    import('hyparquet-compressors'),
  ])
  const file = given instanceof Uint8Array ? inMemory(given) : ranges(given, signal)
  try {
    const metadata = await parquetMetadataAsync(file)
    let start = 0
    for (const group of metadata.row_groups) {
      if (signal?.aborted) throw cancelled()
      const end = start + Number(group.num_rows)
      const rows = await parquetReadObjects({ file, metadata, compressors, rowStart: start, rowEnd: end })
      rows.forEach((row, i) => out.value(plain(row), start + i + 1))
      await out.flush()
      start = end
      onProgress?.({ stage: `Reading ${name}`, done: start, total: Number(metadata.num_rows), unit: 'rows' })
    }
  } catch (error) {
    if (error instanceof CodedError) throw error
    throw new CodedError('file.unreadable', `This Parquet file cannot be read: ${(error as Error).message}`, {
      where: name,
      fix: 'Download or save it again; if that does not help, save it as JSON Lines.',
      cause: error,
    })
  }
}

function inMemory(bytes: Uint8Array<ArrayBuffer>): AsyncBuffer {
  return { byteLength: bytes.length, slice: (start, end) => bytes.slice(start, end).buffer }
}

/** What the reader asks for, from the file: it may leave out the end. */
function ranges({ byteLength, slice }: Ranges, signal: AbortSignal | undefined): AsyncBuffer {
  return {
    byteLength,
    slice(start, end = byteLength) {
      if (signal?.aborted) throw cancelled()
      return slice(start, end)
    },
  }
}

/** A value as JSON would hold it. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') {
    const number = Number(value)
    return Number.isSafeInteger(number) ? number : String(value)
  }
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Date) return value.toISOString()
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as Iterable<number | bigint>, plain)
  if (Array.isArray(value)) return value.map(plain)
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]))
}
