/** GGUF files as models: logits against transformers' own GGUF loader (scripts/golden/record_gguf_models.py), and our exports read back. */
import { describe, expect, it } from 'vitest'
import { loadModel } from '../../src/engine'
import { scoresOf } from '../../src/engine/export/scores'
import { asModelFolder } from '../../src/engine/formats/gguf-source'
import { exportGguf } from '../../src/engine/formats/gguf-export'
import { collect } from '../../src/engine/formats/out-file'
import { loadTokenizer } from '../../src/engine/tokenizer'
import type { FileSource } from '../../src/shared/files'
import { bytesOf, goldenFolder, goldenSource, readGolden, readGoldenTensors } from '../support/golden'

interface Recorded {
  ids: number[]
  texts: string[]
  models: Record<string, { logits: string; tokens: number[][] }>
}

const recorded = JSON.parse(new TextDecoder().decode(await bytesOf('gguf-models/golden.json'))) as Recorded

function largestDifference(a: Float32Array, b: Float32Array): number {
  expect(a.length).toBe(b.length)
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - (b[i] as number))), 0)
}

async function load(source: FileSource) {
  return loadModel(await asModelFolder(source), { id: 'local:gguf', name: 'gguf' })
}

describe('files that others wrote', () => {
  it.each(Object.keys(recorded.models))('%s gives the logits and tokens of transformers', async (name) => {
    const model = await load(await goldenFolder('gguf-models', [`${name}.gguf`]))
    const { logits, tokens } = recorded.models[name] as Recorded['models'][string]
    const wanted = new Float32Array(Uint8Array.from(atob(logits), (char) => char.charCodeAt(0)).buffer)
    const scores = await scoresOf(model, null, recorded.ids)
    expect(largestDifference(scores, wanted)).toBeLessThan(1e-4)
    const { tokenizer } = model
    expect(recorded.texts.map((text) => tokenizer.encode(text, { addSpecialTokens: false }))).toEqual(tokens)
    // transformers forgets the token that begins a text; the file asks for it.
    expect(tokenizer.encode('a')[0]).toBe(1)
    model.dispose()
  })
})

describe('files of our own', () => {
  it.each([
    ['llama-gqa-tied', 'F32', 1e-4],
    ['llama-gqa-tied', 'F16', 0.1],
    ['llama-gqa-tied', 'BF16', 0.5],
    ['llama-gqa-tied', 'Q8_0', 0.5],
    ['llama-untied-llama3-rope', 'F32', 1e-4],
    ['qwen2', 'F32', 1e-4],
    ['qwen3', 'F32', 1e-4],
  ] as const)('%s as %s gives the logits of the model it was made from', async (name, type, most) => {
    const source = await goldenSource(name)
    const tokenizer = await loadTokenizer(source)
    const { file } = await exportGguf({ source, adapter: null, tokenizer, type, name })
    const bytes = await collect(file)
    const model = await load({
      list: async () => [{ name: file.name, size: bytes.length }],
      read: async (_, start, end) => bytes.slice(start, end),
    })
    const golden = await readGolden(name)
    const ids = golden.rows[golden.logits_row]?.input_ids ?? []
    const wanted = (await readGoldenTensors(name)).get('logits/base')
    const scores = await scoresOf(model, null, ids)
    expect(largestDifference(scores, wanted?.values as Float32Array)).toBeLessThan(most)
    model.dispose()
  })
})
