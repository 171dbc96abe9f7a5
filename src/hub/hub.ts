/**
 * A model hub in the manner of Hugging Face: what a model's revision holds, and its files by ranges.
 * Refuses files in folders inside a model, and everything that is not needed to load one.
 */
import { CodedError } from '../shared/errors'
import type { FileSource } from '../shared/files'
import { parseHubName, type HubName } from './hub-name'
import { Http, type HttpOptions } from './http'
import { failure } from './http-errors'
import { isModelFile } from './model-files'
import { Sha256 } from './sha256'

export const HUGGING_FACE = 'https://huggingface.co'

/** A model at one commit. */
export interface HubModel extends HubName {
  /** `hub:owner/name@commit`, so that a revision that moves on is another model. */
  id: string
  commit: string
  licence: string
  gated: boolean
  bytes: number
  files: HubFile[]
}
interface HubFile {
  name: string
  size: number
  /** Of files in large-file storage. */
  sha256?: string
}

export interface HubOptions extends HttpOptions {
  endpoint?: string
}

export class Hub {
  readonly #endpoint: string
  readonly #http: Http

  constructor({ endpoint = HUGGING_FACE, ...options }: HubOptions = {}) {
    this.#endpoint = endpoint.trim().replace(/\/+$/, '')
    this.#http = new Http(this.#endpoint, options)
  }

  /**
   * Looks a model up. @param text see {@link parseHubName}.
   * @throws CodedError `hub.request`; `model.config` where it is none that can be loaded.
   */
  async find(text: string, signal?: AbortSignal): Promise<HubModel> {
    const name = parseHubName(text, this.#endpoint)
    const path = `api/models/${name.owner}/${name.name}/revision/${encodeURIComponent(name.revision)}`
    const url = new URL(`${this.#endpoint}/${path}?blobs=true`)
    const told = readModelInfo(await this.#http.json(url, signal))
    if (!told) throw failure(url, 'The answer does not describe a model.', 'Check the endpoint.')
    const files = told.files.filter((file) => isModelFile(file.name))
    if (!files.some((file) => file.name === 'config.json')) {
      throw new CodedError('model.config', 'This repository is not a transformers model: it has no config.json.', {
        where: `${name.owner}/${name.name}`,
        fix: 'Choose a repository with config.json, tokenizer.json and safetensors files.',
      })
    }
    if (!files.some((file) => file.name.endsWith('.safetensors'))) throw noSafetensors(name, told.files)
    return {
      ...name,
      ...{ id: `hub:${name.owner}/${name.name}@${told.commit}`, commit: told.commit },
      ...{ licence: told.licence, gated: told.gated, files },
      bytes: files.reduce((sum, file) => sum + file.size, 0),
    }
  }

  /** Where a person reads about a model, and accepts its conditions. */
  pageOf({ owner, name }: HubName): string {
    return `${this.#endpoint}/${owner}/${name}`
  }

  /**
   * The files of a model by ranges; its commit is fixed, so a file cannot change between two reads.
   * @param onBytes hears of all bytes that come.
   */
  source(model: HubModel, signal?: AbortSignal, onBytes?: (count: number) => void): FileSource {
    return {
      list: async () => model.files,
      read: async (name, start = 0, end) => {
        const file = model.files.find((candidate) => candidate.name === name)
        if (!file) {
          throw new CodedError('file.missing', `${model.owner}/${model.name} has no ${name}.`, {
            where: name,
            fix: 'Choose a repository with config.json, tokenizer.json and safetensors files.',
          })
        }
        const path = `${model.owner}/${model.name}/resolve/${model.commit}/${encodeURIComponent(name)}`
        return this.#http.range(
          new URL(`${this.#endpoint}/${path}`),
          start,
          Math.min(end ?? file.size, file.size),
          signal,
          onBytes,
        )
      },
    }
  }
}

/**
 * Compares files that were stored with what the hub says they are.
 * @param step bytes read at once.
 * @throws CodedError `model.truncated` naming the first file that differs.
 */
export async function verifyFiles(
  stored: FileSource,
  model: HubModel,
  onBytes: (done: number) => void = () => {},
  step = 16 * 2 ** 20,
): Promise<void> {
  let done = 0
  for (const { name, size, sha256 } of model.files) {
    if (!sha256) continue
    const hash = new Sha256()
    for (let at = 0; at < size; at += step) {
      hash.update(await stored.read(name, at, Math.min(at + step, size)))
      onBytes(done + Math.min(at + step, size))
    }
    done += size
    if (hash.hex() === sha256) continue
    throw new CodedError('model.truncated', `${name} is not the file that the hub has (its SHA-256 differs).`, {
      where: name,
      fix: 'Delete it and fetch it again; if it stays so, the endpoint is not to be trusted.',
    })
  }
}

function noSafetensors({ owner, name }: HubName, files: readonly HubFile[]): CodedError {
  const pickle = files.find((file) => /\.(bin|pt|pth|ckpt|pkl)$/.test(file.name))
  const what = pickle
    ? 'This repository has its weights only as a pickle file, which can run code when it is opened.'
    : 'This repository has no safetensors file.'
  return new CodedError(pickle ? 'model.pickle' : 'model.config', what, {
    where: `${owner}/${name}${pickle ? `/${pickle.name}` : ''}`,
    fix: 'Choose a repository, or a revision of it, with safetensors files; many have one made by a conversion bot under refs/pr.',
  })
}

/** What is needed of the hub's answer; null where it is something else. */
function readModelInfo(answer: unknown): { commit: string; licence: string; gated: boolean; files: HubFile[] } | null {
  const info = answer as {
    sha?: unknown
    gated?: unknown
    cardData?: { license?: unknown }
    siblings?: { rfilename?: unknown; size?: unknown; lfs?: { sha256?: unknown; size?: unknown } }[]
  } | null
  if (!info || typeof info.sha !== 'string' || !/^[0-9a-f]{7,64}$/.test(info.sha) || !Array.isArray(info.siblings))
    return null
  const files = info.siblings.flatMap(({ rfilename, size, lfs }): HubFile[] => {
    const bytes = typeof lfs?.size === 'number' ? lfs.size : size
    if (typeof rfilename !== 'string' || typeof bytes !== 'number' || !Number.isSafeInteger(bytes) || bytes < 0)
      return []
    const sum = lfs?.sha256
    return [{ name: rfilename, size: bytes, ...(typeof sum === 'string' ? { sha256: sum } : {}) }]
  })
  const licence = typeof info.cardData?.license === 'string' ? info.cardData.license : ''
  return { commit: info.sha, licence, gated: Boolean(info.gated), files }
}
