/**
 * A folder that a person picked or dropped, as a source of files. Refuses to guess: what is not a Hugging Face model or
 * adapter folder is turned down with what is missing.
 */
import { CodedError } from '../shared/errors'
import type { FileSource } from '../shared/files'

/** A picked file with its path inside what was picked: "my-model/config.json", or just its name. */
export interface PickedFile {
  path: string
  file: Blob
}

/**
 * The folder around the topmost `marker` ("config.json" of a model, "adapter_config.json" of an adapter), however deep
 * inside the picked one it lies; folders inside it (onnx/, original/, .git/) are left out.
 * @throws CodedError `model.config` if there is no such file, or several equally deep.
 */
export function folderSource(picked: readonly PickedFile[], marker: 'config.json' | 'adapter_config.json'): FileSource {
  const root = findRoot(picked, marker)
  const files = new Map<string, Blob>()
  for (const { path, file } of picked) {
    const clean = normalise(path)
    if (!clean.startsWith(root)) continue
    const name = clean.slice(root.length)
    if (!name.includes('/') && !name.startsWith('.')) files.set(name, file)
  }
  return {
    list: async () => Array.from(files, ([name, file]) => ({ name, size: file.size })),
    async read(name, start = 0, end) {
      const file = files.get(name)
      if (!file) {
        throw new CodedError('file.missing', `The folder has no ${name}.`, {
          where: name,
          fix: 'Pick the whole folder as it was downloaded.',
        })
      }
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

function findRoot(picked: readonly PickedFile[], marker: string): string {
  const roots = picked
    .map(({ path }) => normalise(path))
    .filter((path) => path === marker || path.endsWith(`/${marker}`))
    .map((path) => path.slice(0, path.length - marker.length))
    .sort((a, b) => depth(a) - depth(b))
  const [first, second] = roots
  const kind = marker === 'config.json' ? 'model' : 'adapter'
  if (first === undefined) {
    throw new CodedError('model.config', `This is not a Hugging Face ${kind} folder: it has no ${marker}.`, {
      where: commonFolder(picked),
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

function normalise(path: string): string {
  return path.replaceAll('\\', '/').replace(/^(\.?\/)+/, '')
}

function depth(root: string): number {
  return root.split('/').length
}

function commonFolder(picked: readonly PickedFile[]): string {
  const path = normalise(picked[0]?.path ?? '')
  return path.includes('/') ? path.slice(0, path.indexOf('/')) : ''
}
