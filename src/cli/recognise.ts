/** What lies at a path: a model, an adapter, weights alone, rows, a tokenizer, a job. Refuses to guess where nothing says so. */
import { openAsBlob } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { isAddress } from '../hub/dataset-file'
import { CodedError } from '../shared/errors'
import { SETTINGS } from '../shared/job'
import { ADAPTER_CONFIG } from '../engine/formats/peft'
import { readGguf } from '../engine/formats/gguf-read'
import { readZip } from '../engine/formats/zip'
import { exists, folderSource, isFolder, readRange } from './folder'

/** What something is, and where it begins: a folder for its one GGUF file stands for that. */
export interface Found {
  kind: 'model' | 'adapter' | 'weights' | 'data' | 'tokenizer' | 'job' | 'handoff'
  path: string
}

/** Larger JSON files are rows and nothing else. */
const MOST_JSON = 64 * 2 ** 20
const ROWS = /\.(jsonl|ndjson|json|csv|tsv|parquet|txt|md|zip)$/i
const PICKLE = /\.(bin|pt|pth|ckpt|pkl)$/i

/**
 * What lies at a path, or is named by it: a bundled model, `sample:NAME`, an address.
 * @throws CodedError `file.missing`, `usage` where nothing there is known, `model.pickle`.
 */
export async function recognise(path: string): Promise<Found> {
  if (/^sample:/.test(path) || isAddress(path)) return { kind: 'data', path }
  if (await isFolder(path)) return recogniseFolder(path)
  if (await exists(path)) return recogniseFile(path)
  if (/^(bundled:)?[\w.-]+$/.test(path)) return { kind: 'model', path }
  if (path.includes(',')) return { kind: 'data', path }
  throw new CodedError('file.missing', 'There is nothing at this path.', { where: path, fix: 'Check the path.' })
}

async function recogniseFolder(path: string): Promise<Found> {
  const names = (await (await folderSource(path)).list()).map(({ name }) => name)
  const has = (...wanted: string[]) => wanted.every((name) => names.includes(name))
  if (has('train_trl.py', 'job.json')) return { kind: 'handoff', path }
  if (has(ADAPTER_CONFIG)) return { kind: 'adapter', path }
  if (has('config.json')) return { kind: 'model', path }
  const ggufs = names.filter((name) => /\.gguf$/i.test(name))
  const [gguf] = ggufs
  if (gguf && ggufs.length === 1) return recogniseFile(join(path, gguf))
  // A run's folder keeps its adapters in folders of their own.
  for (const inner of ['checkpoint-best', 'checkpoint-last'])
    if (await exists(join(path, inner, ADAPTER_CONFIG))) return { kind: 'adapter', path: join(path, inner) }
  if (has('tokenizer.json')) return { kind: 'tokenizer', path: join(path, 'tokenizer.json') }
  if (names.some((name) => ROWS.test(name))) return { kind: 'data', path }
  throw unknown(path, names.length === 0 ? 'The folder is empty.' : `Nothing in this folder is known: ${some(names)}.`)
}

async function recogniseFile(path: string): Promise<Found> {
  const name = basename(path)
  if (/\.gguf$/i.test(name)) {
    const { metadata } = await readGguf(await folderSource(dirname(path)), name)
    return { kind: metadata.get('general.type') === 'adapter' ? 'adapter' : 'model', path }
  }
  if (/\.safetensors$/i.test(name)) return { kind: 'weights', path }
  if (/\.zip$/i.test(name)) return recogniseZip(path)
  if (PICKLE.test(name))
    throw new CodedError('model.pickle', 'This is a pickle file, which can run code when it is opened.', {
      where: path,
      fix: 'Save the model again as safetensors; it is not looked into.',
    })
  if (/\.json$/i.test(name)) return recogniseJson(path)
  if (ROWS.test(name)) return { kind: 'data', path }
  throw unknown(path, 'It is not known what this file is.')
}

async function recogniseZip(path: string): Promise<Found> {
  const names = (await (await readZip(await openAsBlob(path))).list()).map(({ name }) => name)
  const holds = (file: string) => names.some((name) => name === file || name.endsWith(`/${file}`))
  if (holds(ADAPTER_CONFIG)) return { kind: 'adapter', path }
  if (names.some((name) => ROWS.test(name)) && !holds('config.json')) return { kind: 'data', path }
  const packed = holds('config.json') || names.some((name) => /\.gguf$/i.test(name))
  throw unknown(path, packed ? 'This zip holds a model.' : `Nothing in this zip is known: ${some(names)}.`, packed)
}

/** A JSON file by what stands in it. */
async function recogniseJson(path: string): Promise<Found> {
  const value = await parsed(path)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return { kind: 'data', path }
  const has = (...keys: string[]) => keys.some((key) => key in value)
  if (has('added_tokens') && has('model')) return { kind: 'tokenizer', path }
  if (has('peft_type', 'fine_tune_type')) return { kind: 'adapter', path: dirname(path) }
  if (has('model_type', 'architectures')) return { kind: 'model', path: dirname(path) }
  const keys = Object.keys(value)
  const isJob = 'kind' in value && value.kind === 'finetab-job'
  if (isJob || (keys.length > 0 && keys.every((key) => Object.hasOwn(SETTINGS, key)))) return { kind: 'job', path }
  return { kind: 'data', path }
}

/** Its value; undefined for what is too large for settings, or no JSON: rows are read in their own way, which says where they end. */
async function parsed(path: string): Promise<unknown> {
  const bytes = await readRange(path, 0, MOST_JSON + 1)
  if (bytes.length > MOST_JSON) return undefined
  try {
    return JSON.parse(new TextDecoder().decode(bytes))
  } catch {
    return undefined
  }
}

const some = (names: readonly string[]): string =>
  names.slice(0, 5).join(', ') + (names.length > 5 ? ` and ${names.length - 5} more` : '')

function unknown(path: string, what: string, packed = false): CodedError {
  return new CodedError('usage', what, {
    where: path,
    fix: packed
      ? 'Unpack it and give its folder.'
      : 'Give a model folder, a GGUF file, an adapter of PEFT or mlx-lm, safetensors, rows, a tokenizer.json or a job file.',
  })
}
