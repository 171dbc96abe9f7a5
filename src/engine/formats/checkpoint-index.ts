/**
 * The weights of a model folder, in one safetensors file or in shards, as one set of named tensors. Refuses pickle files, which can run
 * code when they are opened, with `model.pickle`.
 */
import { CodedError } from '../../shared/errors'
import type { FileSource } from '../../shared/files'
import type { TensorData } from '../../shared/records'
import { readSafetensorsHeader, readTensor, type SafetensorsHeader } from './safetensors'

/** Named tensors, read one by one. */
export interface Weights {
  readonly names: readonly string[]
  /** Type and shape. Throws CodedError `model.tensors` for an unknown name. */
  info(name: string): { dtype: string; shape: readonly number[] }
  read(name: string): Promise<TensorData>
}

const SINGLE = 'model.safetensors'
const INDEX = 'model.safetensors.index.json'
const SHARD = /^(.+)-(\d{5})-of-(\d{5})\.safetensors$/

/**
 * Opens the weights: model.safetensors, shards by model.safetensors.index.json or by their names, or the folder's only safetensors file.
 * Reads headers only. Throws CodedError `model.pickle`, `model.header`, `model.truncated`, `model.tensors`, `file.missing`.
 */
export async function openWeights(source: FileSource): Promise<Weights> {
  const names = (await source.list()).map((file) => file.name)
  const own = names.filter((name) => !name.includes('/') && name.endsWith('.safetensors') && !/^adapter/.test(name))
  if (names.includes(SINGLE)) return fromFiles(source, [SINGLE], null)
  if (names.includes(INDEX)) {
    const map = await readIndex(source)
    const files = [...new Set(map.values())].sort()
    const missing = files.filter((file) => !names.includes(file))
    if (missing.length > 0) throw absent(missing)
    return fromFiles(source, files, map)
  }
  const shards = own.filter((name) => SHARD.test(name)).sort()
  if (shards.length > 0) {
    const total = Number(SHARD.exec(shards[0]!)![3])
    if (shards.length !== total) throw absent([`${total - shards.length} of the ${total} shards`])
    return fromFiles(source, shards, null)
  }
  if (own.length === 1) return fromFiles(source, own, null)
  throw noWeights(names, own)
}

function absent(files: readonly string[]): CodedError {
  return new CodedError('file.missing', `The weights are not complete: ${files.join(', ')} missing.`, {
    where: INDEX,
    fix: 'Pick the whole folder, with every shard in it.',
  })
}

function noWeights(names: readonly string[], safetensors: readonly string[]): CodedError {
  const pickle = names.find((name) => /\.(bin|pt|pth|ckpt|pkl|pickle)$/.test(name))
  if (pickle)
    return new CodedError('model.pickle', 'The weights are a pickle file, which can run code when it is opened.', {
      where: pickle,
      fix: 'Save them once as safetensors, in Python: AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder).',
    })
  const gguf = names.find((name) => name.endsWith('.gguf'))
  if (gguf)
    return new CodedError('model.unsupported', 'The weights are a GGUF file.', {
      where: gguf,
      fix: 'Take the same model in Hugging Face layout: config.json, tokenizer.json and model.safetensors.',
    })
  return new CodedError('file.missing', 'There are no weights in this folder.', {
    where: SINGLE,
    fix:
      safetensors.length > 1
        ? `Keep only one of ${safetensors.join(', ')} in it, or name it ${SINGLE}.`
        : `Pick the folder that holds ${SINGLE}.`,
  })
}

/** Tensor name → file. */
async function readIndex(source: FileSource): Promise<Map<string, string>> {
  const wrong = (what: string, cause?: unknown) =>
    new CodedError('model.header', what, { where: INDEX, fix: 'Download the file again.', cause })
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(await source.read(INDEX)))
  } catch (cause) {
    if (cause instanceof CodedError) throw cause
    throw wrong('The index of the shards is not valid JSON.', cause)
  }
  const map = (json as { weight_map?: unknown } | null)?.weight_map
  if (typeof map !== 'object' || map === null || Array.isArray(map)) throw wrong('The index has no weight_map.')
  const entries = Object.entries(map as Record<string, unknown>)
  if (entries.length === 0) throw wrong('The index names no tensors.')
  for (const [name, file] of entries) {
    if (typeof file !== 'string' || !/^[^/\\]+\.safetensors$/.test(file))
      throw wrong(`The index puts ${name} into ${JSON.stringify(file)}, which is no file of this folder.`)
  }
  return new Map(entries as [string, string][])
}

async function fromFiles(
  source: FileSource,
  files: readonly string[],
  map: ReadonlyMap<string, string> | null,
): Promise<Weights> {
  const found = new Map<string, SafetensorsHeader>()
  for (const file of files) {
    const header = await readSafetensorsHeader(source, file)
    for (const name of header.tensors.keys()) {
      if (map && map.get(name) !== file) continue
      if (found.has(name))
        throw new CodedError('model.header', `The tensor ${name} is in two files.`, {
          where: file,
          fix: 'Keep only the files of one model in the folder.',
        })
      found.set(name, header)
    }
  }
  const lost = [...(map?.keys() ?? [])].filter((name) => !found.has(name))
  if (lost.length > 0)
    throw new CodedError(
      'model.tensors',
      `The index names ${lost.length} tensors that its files do not hold: ${lost.slice(0, 5).join(', ')}.`,
      {
        where: INDEX,
        fix: 'Take all files of the model from the same place and revision.',
      },
    )
  const headerOf = (name: string): SafetensorsHeader => {
    const header = found.get(name)
    if (!header)
      throw new CodedError('model.tensors', 'The tensor is not in the weights.', {
        where: name,
        fix: 'Take all files of the model from the same place and revision.',
      })
    return header
  }
  return {
    names: [...found.keys()],
    info: (name) => headerOf(name).tensors.get(name)!,
    read: (name) => readTensor(source, headerOf(name), name),
  }
}
