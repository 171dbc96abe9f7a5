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
import { bytesFile, collect, type OutFile } from '../../src/engine/formats/out-file'
import { readPeft, writePeft } from '../../src/engine/formats/peft'
import { loadTokenizer } from '../../src/engine/tokenizer'
import type { FileSource } from '../../src/shared/files'

const GOLDEN = resolve(import.meta.dirname, '../golden')
const out = resolve(process.argv[2] ?? 'formats')

async function write(folder: string, files: readonly OutFile[]): Promise<void> {
  await mkdir(folder, { recursive: true })
  for (const file of files) await writeFile(join(folder, file.name), await collect(file))
}

/** What llama.cpp takes for granted and the tiny models do otherwise; no tensor depends on it. */
const USUAL: Readonly<Record<string, object>> = {
  gemma2: { query_pre_attn_scalar: 12 },
  'gemma3-text': { query_pre_attn_scalar: 12, layer_types: null },
  smollm3: { no_rope_layer_interval: 4 },
}

function asUsual(name: string, source: FileSource): FileSource {
  return {
    list: () => source.list(),
    async read(file, start, end) {
      const bytes = await source.read(file, start, end)
      if (file !== 'config.json') return bytes
      const config = JSON.parse(new TextDecoder().decode(bytes)) as object
      return new TextEncoder().encode(JSON.stringify({ ...config, ...USUAL[name] }))
    },
  }
}

async function writeCase(name: string, source: FileSource): Promise<void> {
  const adapter = await readPeft(await folderSource(join(GOLDEN, name, 'adapter_init')))
  const tokenizer = await loadTokenizer(source)
  const folder = join(out, name)
  await write(
    join(folder, 'peft'),
    writePeft(adapter).map(({ name: file, bytes }) => bytesFile(file, bytes)),
  )
  await write(join(folder, 'merged'), await mergedFolder(source, adapter, { dtype: 'F32' }))
  await write(join(folder, 'merged-bf16'), await mergedFolder(source, adapter, { dtype: 'BF16', shardSize: 20_000 }))
  for (const type of ['F32', 'F16', 'BF16', 'Q8_0'] as const) {
    const { file } = await exportGguf({
      source: asUsual(name, source),
      adapter,
      tokenizer,
      type,
      name,
      chatTemplate: 'template',
    })
    await write(folder, [file])
  }
  await write(folder, [(await exportGgufLora({ source: asUsual(name, source), adapter, name })).file])
  // mlx-lm names the layers of these two otherwise.
  if (!['gpt2', 'gpt-neox'].includes(name)) await write(join(folder, 'mlx'), mlxAdapter(adapter, 2))
}

const entries = await readdir(GOLDEN, { withFileTypes: true })
for (const { name } of entries.filter((entry) => entry.isDirectory())) {
  const source = await folderSource(join(GOLDEN, name))
  if ((await source.list()).some((file) => file.name === 'model.safetensors')) await writeCase(name, source)
}
