/** What `--adapter` means: a folder or a zip, of PEFT or mlx-lm. Refuses to load it onto a model. */
import { openAsBlob } from 'node:fs'
import { readAdapter } from '../engine/formats/adapter-folder'
import type { PeftAdapter } from '../engine/formats/peft'
import { readZip } from '../engine/formats/zip'
import { exists, folderSource, isFolder } from './folder'

/** Reads an adapter. @throws CodedError `file.missing`, `file.unreadable`, `adapter.*`. */
export async function openAdapter(path: string): Promise<PeftAdapter> {
  const packed = /\.zip$/i.test(path) && (await exists(path)) && !(await isFolder(path))
  return readAdapter(packed ? await readZip(await openAsBlob(path)) : await folderSource(path))
}
