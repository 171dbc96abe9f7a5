/**
 * Where models come from: the page itself, a picked folder, the browser's own store.
 * Refuses to load them: it only supplies bytes.
 */
import type { FileSource } from '../shared/files'

export { bundledSource, fetchSample, listBundled, listSamples, type BundledModel, type SampleDataset } from './bundled'
export { folderOf, pickedSource, type PickedFile } from './folder'

const MODEL_FILE = /\.(safetensors|json|jinja|txt)$/

/** A source without the files that loading a model never needs (pickles, images, other runtimes' weights). */
export function onlyModelFiles(source: FileSource): FileSource {
  return {
    list: async () => (await source.list()).filter(({ name }) => MODEL_FILE.test(name)),
    read: (name, start, end) => source.read(name, start, end),
  }
}
