/** Rows of a Parquet file, one row group at a time. Refuses values that JSON cannot hold: they become numbers, texts or lists. */
import { cancelled } from '../cancel'
import { CodedError } from '../../shared/errors'
import type { OnProgress } from '../../shared/files'
import type { Collector } from './collector'

/**
 * Reads a whole file from memory; the reader is loaded only when it is needed.
 * @throws CodedError `file.unreadable`, `cancelled`.
 */
export async function readParquet(
  bytes: Uint8Array<ArrayBuffer>,
  name: string,
  out: Collector,
  onProgress?: OnProgress,
  signal?: AbortSignal,
): Promise<void> {
  const [{ parquetMetadata, parquetReadObjects }, { compressors }] = await Promise.all([
    import('hyparquet'),
    import('hyparquet-compressors'),
  ])
  const buffer = bytes.byteLength === bytes.buffer.byteLength ? bytes.buffer : bytes.slice().buffer
  try {
    const metadata = parquetMetadata(buffer)
    let start = 0
    for (const group of metadata.row_groups) {
      if (signal?.aborted) throw cancelled()
      const end = start + Number(group.num_rows)
      const rows = await parquetReadObjects({ file: buffer, metadata, compressors, rowStart: start, rowEnd: end })
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
