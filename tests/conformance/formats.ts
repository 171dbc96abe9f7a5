/**
 * Writes every output format for every tiny model of the golden numbers: `tsx formats.ts OUT_DIR`, to be read by formats_check.py.
 * Refuses to check anything itself.
 */
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { folderSource } from '../../src/cli/folder'
import { exportGguf, exportGgufLora } from '../../src/engine/formats/gguf-export'
import { mergedFolder } from '../../src/engine/formats/merged'
import { mlxAdapter } from '../../src/engine/formats/mlx'
import { collect, type OutFile } from '../../src/engine/formats/out-file'
import { readPeft } from '../../src/engine/formats/peft'
import { loadTokenizer } from '../../src/engine/tokenizer'
import type { FileSource } from '../../src/shared/files'

const GOLDEN = resolve(import.meta.dirname, '../golden')
const out = resolve(process.argv[2] ?? 'formats')

async function write(folder: string, files: readonly OutFile[]): Promise<void> {
  await mkdir(folder, { recursive: true })
  for (const file of files) await writeFile(join(folder, file.name), await collect(file))
}

async function writeCase(name: string, source: FileSource): Promise<void> {
  const adapter = await readPeft(await folderSource(join(GOLDEN, name, 'adapter_init')))
  const tokenizer = await loadTokenizer(source)
  const folder = join(out, name)
  await write(join(folder, 'merged'), await mergedFolder(source, adapter, { dtype: 'F32' }))
  await write(join(folder, 'merged-bf16'), await mergedFolder(source, adapter, { dtype: 'BF16', shardSize: 20_000 }))
  for (const type of ['F32', 'F16', 'Q8_0'] as const) {
    const { file } = await exportGguf({ source, adapter, tokenizer, type, name, chatTemplate: 'template' })
    await write(folder, [file])
  }
  await write(folder, [(await exportGgufLora({ source, adapter, name })).file])
  // mlx-lm names the layers of these two otherwise.
  if (!['gpt2', 'gpt-neox'].includes(name)) await write(join(folder, 'mlx'), mlxAdapter(adapter, 2))
}

const entries = await readdir(GOLDEN, { withFileTypes: true })
for (const { name } of entries.filter((entry) => entry.isDirectory())) {
  const source = await folderSource(join(GOLDEN, name))
  if ((await source.list()).some((file) => file.name === 'model.safetensors')) await writeCase(name, source)
}
