/** What a run notes of its model's files, so that it does not go on with another model of the same name. */
import { expect, it } from 'vitest'
import { fingerprintModel } from '../../../src/hub'
import type { FileSource } from '../../../src/shared/files'

const FILES = { 'config.json': '{"model_type":"llama"}', 'model.safetensors': 'weights', 'README.md': 'about it' }

function source(files: Record<string, string>): FileSource {
  const bytes = new Map(Object.entries(files).map(([name, text]) => [name, new TextEncoder().encode(text)]))
  return {
    list: async () => Array.from(bytes, ([name, file]) => ({ name, size: file.length })),
    read: async (name, start = 0, end) => (bytes.get(name) as Uint8Array).slice(start, end),
  }
}

it('looks at settings and weights, in whatever order and pieces they come', async () => {
  const noted = await fingerprintModel(source(FILES))
  const { 'README.md': _, ...rest } = FILES
  expect(await fingerprintModel(source({ ...Object.fromEntries(Object.entries(rest).reverse()) }), 3)).toBe(noted)
  const changes: Record<string, string>[] = [
    { 'model.safetensors': 'weighty' },
    { 'config.json': '{"model_type":"qwen2"}' },
    { 'model-2.safetensors': '' },
  ]
  for (const change of changes) expect(await fingerprintModel(source({ ...FILES, ...change }))).not.toBe(noted)
})
