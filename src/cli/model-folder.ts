/** What `--model` means: a folder, a GGUF file, or the name of a bundled model. Refuses to look anywhere else. */
import { readdir, realpath } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { asModelFolder, ggufFolder } from '../engine/formats/gguf-source'
import { CodedError } from '../shared/errors'
import type { FileSource } from '../shared/files'
import { exists, folderSource, isFolder } from './folder'
import { nearest } from '../shared/nearest'

/** The folder of this program. */
export const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const BUNDLED = join(ROOT, 'public', 'models')

export interface ModelFolder {
  id: string
  name: string
  path: string
  source: FileSource
}

/** Opens what `--model` names. Throws CodedError `file.missing`, naming the bundled models. */
export async function openModelFolder(given: string): Promise<ModelFolder> {
  const bundledName = given.replace(/^bundled:/, '')
  const bundled = join(BUNDLED, bundledName)
  const isName = /^[\w.-]+$/.test(bundledName) && !/^\.+$/.test(bundledName)
  if (!given.startsWith('bundled:') && (await isFolder(given))) {
    const path = resolve(given)
    return { id: `local:${path}`, name: basename(path), path, source: await asModelFolder(await folderSource(path)) }
  }
  if (/\.gguf$/i.test(given) && (await exists(given))) {
    const path = resolve(given)
    const name = basename(path)
    const source = await ggufFolder(await folderSource(dirname(path)), name)
    return { id: `local:${path}`, name: name.replace(/\.gguf$/i, ''), path, source }
  }
  if (isName && (await isFolder(bundled))) {
    return { id: `bundled:${bundledName}`, name: bundledName, path: bundled, source: await folderSource(bundled) }
  }
  const names = await bundledNames()
  const near = nearest(bundledName, names)
  const list = names.length > 0 ? ` or one of the bundled models: ${names.join(', ')}` : ''
  throw new CodedError('file.missing', 'There is no such model.', {
    where: `--model ${given}`,
    fix:
      near.length > 0
        ? `Did you mean ${near.join(' or ')}?`
        : `Give a folder in Hugging Face layout, a GGUF file${list}.`,
  })
}

/**
 * The base model is never changed: refuses to write into its folder, or files of these names over its GGUF file.
 * @param out a folder that is there.
 * @throws CodedError `usage`
 */
export async function refuseModelFolder(out: string, model: ModelFolder, names: readonly string[] = []): Promise<void> {
  const [target, base] = await Promise.all([realpath(out), realpath(model.path)])
  if (target !== base && names.every((name) => join(target, name) !== base)) return
  throw new CodedError('usage', 'This would write over the base model.', {
    where: `--out ${out}`,
    fix: 'Give another --out: a folder of its own.',
  })
}

/** What stands in adapter_config.json as the base model. */
export function nameForPeft(folder: ModelFolder): string {
  return folder.id.startsWith('bundled:') ? folder.name : folder.path
}

async function bundledNames(): Promise<string[]> {
  const names = await readdir(BUNDLED).catch(() => [])
  const checked = await Promise.all(names.map((name) => exists(join(BUNDLED, name, 'config.json'))))
  return names.filter((_, i) => checked[i])
}
