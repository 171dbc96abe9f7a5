/**
 * The models that come with the page, listed by models/index.json. Refuses addresses outside the page's own folder.
 */
import { CodedError } from '../shared/errors'
import type { FileSource } from '../shared/files'

/** One entry of models/index.json. */
export interface BundledModel {
  /** `bundled:NAME` */
  id: string
  name: string
  /** Its folder, relative to models/. */
  path: string
  parameters: number
  bytes: number
  licence: string
  description: string
  files: { name: string; size: number }[]
}

/**
 * The bundled models; none where the page was built without.
 * @param base what the files of public/ are relative to.
 */
export async function listBundled(base: string): Promise<BundledModel[]> {
  const response = await request(new URL('models/index.json', base))
  return response ? ((await response.json()) as BundledModel[]) : []
}

/** The files of a bundled model; each is checked against the listed size. */
export function bundledSource(base: string, model: BundledModel): FileSource {
  const folder = new URL(`${model.path.replace(/\/?$/, '/')}`, new URL('models/', base))
  const whole = new Map<string, Promise<Uint8Array>>()
  const fetchWhole = async (name: string, size: number): Promise<Uint8Array> => {
    const response = await request(new URL(name, folder))
    if (!response) throw missing(name)
    const bytes = new Uint8Array(await response.arrayBuffer())
    if (bytes.byteLength === size) return bytes
    throw new CodedError('model.truncated', `${name} has ${bytes.byteLength} bytes instead of ${size}.`, {
      where: `${model.id}/${name}`,
      fix: 'Reload the page without its cache; if it stays so, the page was not published whole.',
    })
  }
  return {
    list: async () => model.files,
    async read(name, start = 0, end) {
      const file = model.files.find((candidate) => candidate.name === name)
      if (!file) throw missing(name)
      // Static servers need not know ranges, and a bundled model is a few MB: a file is fetched once and cut here.
      const fetched = whole.get(name) ?? fetchWhole(name, file.size)
      whole.set(name, fetched)
      try {
        return (await fetched).subarray(start, end ?? file.size)
      } catch (error) {
        whole.delete(name)
        throw error
      }
    },
  }
}

/** A file of the page itself; null where the server has none. */
async function request(url: URL): Promise<Response | null> {
  let response: Response
  try {
    response = await fetch(url)
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
  return new CodedError('file.missing', `The page has no ${name} for this model.`, {
    where: name,
    fix: 'The page was not published whole: build it again, or pick a model folder.',
  })
}
