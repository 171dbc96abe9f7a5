/** Which files loading a model may need. Refuses pickles, pictures and other runtimes' weights. */
import type { FileSource } from '../shared/files'

const MODEL_FILE = /^[^/]+\.(safetensors|json|jinja|txt)$/

/** Whether a file at the top of a model's folder may be needed to load it. */
export function isModelFile(name: string): boolean {
  return MODEL_FILE.test(name)
}

/** A source without the files that loading a model never needs. */
export function onlyModelFiles(source: FileSource): FileSource {
  return {
    list: async () => (await source.list()).filter(({ name }) => isModelFile(name)),
    read: (name, start, end) => source.read(name, start, end),
  }
}

/** One file of a source, at the top. */
export function onlyFile(source: FileSource, path: string): FileSource {
  const own = path.slice(path.lastIndexOf('/') + 1)
  return {
    list: async () =>
      (await source.list()).filter(({ name }) => name === path).map(({ size }) => ({ name: own, size })),
    read: (name, start, end) => source.read(name === own ? path : name, start, end),
  }
}
