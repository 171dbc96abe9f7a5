/**
 * A dataset file by its address, on a hub or any server that lets others read it: fetched a range at a time while it is read.
 * Refuses addresses of pages and folders.
 */
import { CodedError } from '../shared/errors'
import { Http, type HttpOptions } from './http'

/** Bytes asked for at once: few requests, little memory. */
const RANGE = 8 * 2 ** 20

interface RemoteFile {
  name: string
  size: number
  /** From the start, each time; what a broken connection left out is asked for again. */
  open(): ReadableStream<Uint8Array>
  slice(start: number, end: number): Promise<ArrayBuffer>
}

/** Whether a text is an address rather than a name or a path. */
export function isAddress(text: string): boolean {
  return /^https?:\/\//i.test(text.trim())
}

/**
 * The file at an address; one of a hub's page about the file (`/blob/`) is turned into the file itself.
 * @throws CodedError `usage` where it names no file; `hub.request` and `hub.access` where it cannot be had.
 */
export async function datasetFile(
  address: string,
  options: HttpOptions = {},
  signal?: AbortSignal,
): Promise<RemoteFile> {
  const url = fileAddress(address)
  const http = new Http(url.origin, { ...options, thing: 'dataset' })
  const size = await http.size(url, signal)
  const name = decodeURIComponent(url.pathname.split('/').at(-1) ?? '')
  return {
    name,
    size,
    slice: async (start, end) => (await http.range(url, start, end, signal)).buffer as ArrayBuffer,
    open() {
      let at = 0
      return new ReadableStream<Uint8Array>({
        async pull(controller) {
          if (at >= size) return controller.close()
          const end = Math.min(size, at + RANGE)
          controller.enqueue(await http.range(url, at, end, signal))
          at = end
        },
      })
    },
  }
}

function fileAddress(address: string): URL {
  const text = address.trim()
  if (!URL.canParse(text)) throw noFile(address, 'It is not a web address.')
  const url = new URL(text)
  url.pathname = url.pathname.replace(/^(\/datasets\/[^/]+\/[^/]+)\/blob\//, '$1/resolve/')
  const path = url.pathname.split('/').filter(Boolean)
  const onPage = path[0] === 'datasets' && (path.length <= 3 || path[3] === 'tree')
  if (onPage || !/\.[a-z0-9]+$/i.test(path.at(-1) ?? '')) throw noFile(address, 'It names a page, not a file.')
  return url
}

function noFile(address: string, what: string): CodedError {
  return new CodedError('usage', what, {
    where: address,
    fix: 'Open the dataset’s list of files, and take the address of a .parquet, .jsonl, .json or .csv file.',
  })
}
