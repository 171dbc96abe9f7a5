/** What becomes of an adapter outside: its files, and its base model with it merged in. Refuses to look at what they give. */
import { loadModel, type Model } from '../../src/engine'
import { openWeights } from '../../src/engine/formats/checkpoint-index'
import { mergeWeights } from '../../src/engine/formats/merge'
import { writePeft, type PeftAdapter } from '../../src/engine/formats/peft'
import { writeSafetensors } from '../../src/engine/formats/safetensors'
import type { FileSource } from '../../src/shared/files'
import { goldenSource } from './golden'
import { memoryFolder } from './memory-folder'

/** The folder that an adapter is exported as. */
export function peftFolder(adapter: PeftAdapter): FileSource {
  return memoryFolder(Object.fromEntries(writePeft(adapter).map((file) => [file.name, file.bytes])))
}

/** A golden case's model with an adapter merged into its weights, written and loaded again. */
export async function mergedModel(name: string, adapter: PeftAdapter): Promise<Model> {
  const source = await goldenSource(name)
  const weights = mergeWeights(await openWeights(source), adapter)
  const tensors = Object.fromEntries(await Promise.all(weights.names.map(async (n) => [n, await weights.read(n)])))
  const others = ['config.json', 'tokenizer.json', 'tokenizer_config.json']
  const files = await Promise.all(others.map(async (file) => [file, await source.read(file)] as const))
  const folder = memoryFolder({
    ...Object.fromEntries(files),
    'model.safetensors': writeSafetensors(tensors, { format: 'pt' }),
  })
  return loadModel(folder, { id: 'local:merged', name: 'merged' })
}
