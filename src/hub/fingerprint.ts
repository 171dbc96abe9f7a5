/**
 * What a model's files are, in one short text, so that a run notices when another model has taken the place of its own.
 * Refuses to look at more than settings and weights: a tokenizer that changes shows in the encoded rows.
 */
import type { FileSource } from '../shared/files'
import { Sha256 } from './sha256'

const DECIDES = /^config\.json$|\.safetensors$/

/** SHA-256 over config.json and the weights, names included. @param step bytes read at once. */
export async function fingerprintModel(source: FileSource, step = 16 * 2 ** 20): Promise<string> {
  const files = (await source.list()).filter(({ name }) => DECIDES.test(name))
  const hash = new Sha256()
  for (const { name, size } of [...files].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    hash.update(new TextEncoder().encode(`${name} ${size}\n`))
    for (let at = 0; at < size; at += step) hash.update(await source.read(name, at, Math.min(at + step, size)))
  }
  return hash.hex()
}
