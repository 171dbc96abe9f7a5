/**
 * What comes with the page: models listed by models/index.json, sample datasets by datasets/index.json.
 * Refuses addresses outside the page's own folder.
 */
import { CodedError } from '../shared/errors'
import type { FileSource } from '../shared/files'
import type { Job } from '../shared/job'

/** One entry of models/index.json. */
export interface BundledModel {
  /** As in `bundled:ID`. */
  id: string
  name: string
  /** Its folder, relative to the page. */
  path: string
  parameters: number
  bytes: number
  licence: string
  description: string
  files: { name: string; bytes: number }[]
}

/** One entry of datasets/index.json. */
export interface SampleDataset {
  /** As in `sample:ID`. */
  id: string
  name: string
  /** Its file, relative to datasets/. */
  file: string
  rows: number
  bytes: number
  description: string
  /** Settings that suit it on the default model, measured. */
  suggested?: Partial<Job>
  samplePrompt?: string
}

/**
 * The bundled models; none where the page was built without.
 * @param base what the files of public/ are relative to.
 */
export async function listBundled(base: string): Promise<BundledModel[]> {
  const response = await request(new URL('models/index.json', base))
  return response ? ((await response.json()) as BundledModel[]) : []
}

/** The sample datasets; none where the page was built without. */
export async function listSamples(base: string): Promise<SampleDataset[]> {
  const response = await request(new URL('datasets/index.json', base))
  return response ? ((await response.json()) as SampleDataset[]) : []
}

/** A sample's file. @throws CodedError `file.missing` */
export async function fetchSample(base: string, sample: SampleDataset): Promise<Blob> {
  const response = await request(new URL(sample.file, new URL('datasets/', base)))
  if (!response) throw missing(sample.file)
  return response.blob()
}

/** Bytes that are asked for first of a large file: its header, so that a list of models does not load their weights. */
const HEAD = 64 * 1024

/** The files of a bundled model; each is checked against the listed size. */
export function bundledSource(base: string, model: BundledModel): FileSource {
  const folder = new URL(model.path.replace(/\/?$/, '/'), base)
  const heads = new Map<string, Promise<Uint8Array>>()
  const wholes = new Map<string, Promise<Uint8Array>>()

  const fetchHead = async (name: string, size: number): Promise<Uint8Array> => {
    const response = await request(new URL(name, folder), { cache: 'no-store' })
    if (!response) throw missing(name)
    return start(response, Math.min(HEAD, size))
  }
  const fetchWhole = async (name: string, size: number): Promise<Uint8Array> => {
    const response = await request(new URL(name, folder))
    if (!response) throw missing(name)
    return checked(name, new Uint8Array(await response.arrayBuffer()), size)
  }
  const checked = (name: string, bytes: Uint8Array, size: number): Uint8Array => {
    if (bytes.byteLength === size) return bytes
    throw new CodedError('model.truncated', `${name} has ${bytes.byteLength} bytes instead of ${size}.`, {
      where: `${model.id}/${name}`,
      fix: 'Reload the page without its cache; if it stays so, the page was not published whole.',
    })
  }
  return {
    list: async () => model.files.map(({ name, bytes }) => ({ name, size: bytes })),
    async read(name, start = 0, end) {
      const size = model.files.find((candidate) => candidate.name === name)?.bytes
      if (size === undefined) throw missing(name)
      const stop = end ?? size
      if (stop <= HEAD && size > HEAD && !wholes.has(name)) {
        return (await once(heads, name, () => fetchHead(name, size))).slice(start, stop)
      }
      return (await once(wholes, name, () => fetchWhole(name, size))).subarray(start, stop)
    },
  }
}

/**
 * The first bytes of a body; the rest is not fetched. A Range header would be the usual way, but servers that compress on the
 * fly (and the browser's cache behind them) count its bytes in the compressed file.
 */
async function start(response: Response, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  const reader = (response.body as ReadableStream<Uint8Array>).getReader()
  let filled = 0
  while (filled < length) {
    const { done, value } = await reader.read()
    if (done) break
    const part = value.subarray(0, length - filled)
    bytes.set(part, filled)
    filled += part.length
  }
  await reader.cancel()
  return bytes.subarray(0, filled)
}

/** A promise that is made once and forgotten if it fails. */
async function once<T>(kept: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  const promise = kept.get(key) ?? make()
  kept.set(key, promise)
  try {
    return await promise
  } catch (error) {
    kept.delete(key)
    throw error
  }
}

/** A file of the page itself; null where the server has none. */
async function request(url: URL, init: RequestInit = {}): Promise<Response | null> {
  let response: Response
  try {
    response = await fetch(url, init)
  } catch (error) {
    throw new CodedError('hub.request', 'The page could not fetch one of its own files.', {
      where: url.pathname,
      fix: 'Check that the server that serves this page still runs, and try again.',
      cause: error,
    })
  }
  // Development servers answer unknown addresses with the page itself.
  const isPage = response.headers.get('content-type')?.startsWith('text/html') ?? false
  return response.ok && !isPage ? response : null
}

function missing(name: string): CodedError {
  return new CodedError('file.missing', `The page was published without ${name}.`, {
    where: name,
    fix: 'Build and publish the page again, or bring your own model folder and data.',
  })
}
