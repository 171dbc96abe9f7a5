/**
 * A folder that a person picked, dropped or unpacked, as a source of files. Refuses to guess: what is not a Hugging Face
 * model or adapter folder is turned down with what is missing.
 */
import { CodedError } from '../shared/errors'
import type { FileSource } from '../shared/files'

/** A picked file with its path inside what was picked: "my-model/config.json", or just its name. */
export interface PickedFile {
  path: string
  file: Blob
}

/** The file that makes a folder a model, or an adapter. */
type Marker = 'config.json' | 'adapter_config.json'

/** Picked files as they are, with their paths. */
export function pickedSource(picked: readonly PickedFile[]): FileSource {
  const files = new Map(picked.map(({ path, file }) => [normalise(path), file]))
  return {
    list: async () => Array.from(files, ([name, file]) => ({ name, size: file.size })),
    async read(name, start = 0, end) {
      const file = files.get(name)
      if (!file) throw missing(name)
      try {
        return new Uint8Array(await file.slice(start, end ?? file.size).arrayBuffer())
      } catch (error) {
        // Browsers refuse files that changed or went away after they were picked.
        throw new CodedError('file.unreadable', `${name} could not be read; it may have changed since it was picked.`, {
          where: name,
          fix: 'Pick the folder again.',
          cause: error,
        })
      }
    },
  }
}

/**
 * The folder around the topmost marker file, however deep inside a source it lies; folders inside it (onnx/, original/,
 * .git/) are left out.
 * @throws CodedError `model.config` if there is no such file, or several equally deep.
 */
export async function folderOf(source: FileSource, marker: Marker): Promise<FileSource> {
  const all = await source.list()
  const root = findRoot(
    all.map(({ name }) => name),
    marker,
  )
  const files = all
    .filter(({ name }) => name.startsWith(root))
    .map(({ name, size }) => ({ name: name.slice(root.length), size }))
    .filter(({ name }) => !name.includes('/') && !name.startsWith('.'))
  return {
    list: async () => files,
    read: (name, start, end) => source.read(root + name, start, end),
  }
}

function findRoot(paths: readonly string[], marker: Marker): string {
  const roots = paths
    .filter((path) => path === marker || path.endsWith(`/${marker}`))
    .map((path) => path.slice(0, path.length - marker.length))
    .sort((a, b) => depth(a) - depth(b))
  const [first, second] = roots
  const kind = marker === 'config.json' ? 'model' : 'adapter'
  if (first === undefined) {
    throw new CodedError('model.config', `This is not a Hugging Face ${kind} folder: it has no ${marker}.`, {
      where: topFolder(paths),
      fix:
        kind === 'model'
          ? 'Pick the folder that holds config.json, tokenizer.json and model.safetensors.'
          : 'Pick the folder, or the zip, that holds adapter_config.json and adapter_model.safetensors.',
    })
  }
  if (second !== undefined && depth(second) === depth(first)) {
    throw new CodedError('model.config', `There are several ${kind}s in this folder.`, {
      where: roots.map((root) => root || './').join(', '),
      fix: 'Pick one of them.',
    })
  }
  return first
}

function missing(name: string): CodedError {
  return new CodedError('file.missing', `The folder has no ${name}.`, {
    where: name,
    fix: 'Pick the whole folder as it was downloaded.',
  })
}

function normalise(path: string): string {
  return path.replaceAll('\\', '/').replace(/^(\.?\/)+/, '')
}

function depth(root: string): number {
  return root.split('/').length
}

function topFolder(paths: readonly string[]): string {
  const path = paths[0] ?? ''
  return path.includes('/') ? path.slice(0, path.indexOf('/')) : ''
}
