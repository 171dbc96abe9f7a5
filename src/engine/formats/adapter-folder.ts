/** Opens an adapter whatever wrote it: a PEFT or an mlx-lm folder, at the top or inside another folder. Refuses to load it onto a model. */
import type { FileSource } from '../../shared/files'
import { MLX_WEIGHTS, readMlx } from './mlx'
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS, readPeft, type PeftAdapter } from './peft'
import { enterFolder } from './zip'

/** Reads an adapter. Throws CodedError `adapter.*`, `model.*`, `file.missing`. */
export async function readAdapter(source: FileSource): Promise<PeftAdapter> {
  const folder = await enterFolder(source, ADAPTER_CONFIG)
  const names = new Set((await folder.list()).map((file) => file.name))
  return names.has(MLX_WEIGHTS) && !names.has(ADAPTER_WEIGHTS) ? readMlx(folder) : readPeft(folder)
}
