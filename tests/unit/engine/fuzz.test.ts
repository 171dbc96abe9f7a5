/**
 * Thousands of damaged files: each is refused with a code, or read as something that holds together; never a crash, never a hang.
 * The same damage every time.
 */
import { resolve } from 'node:path'
import { downloadZip } from 'client-zip'
import { describe, expect, it } from 'vitest'
import { inspectModel } from '../../../src/engine'
import { openWeights } from '../../../src/engine/formats/checkpoint-index'
import { readAdapter } from '../../../src/engine/formats/adapter-folder'
import { asModelFolder } from '../../../src/engine/formats/gguf-source'
import { mergeWeights } from '../../../src/engine/formats/merge'
import { byteLength } from '../../../src/engine/formats/safetensors'
import { loraDeltas } from '../../../src/engine/formats/peft'
import { readZip } from '../../../src/engine/formats/zip'
import { loadTokenizer } from '../../../src/engine/tokenizer'
import { loadChatTemplate } from '../../../src/engine/tokenizer/chat-template'
import { CodedError } from '../../../src/shared/errors'
import type { FileSource } from '../../../src/shared/files'
import { diskFolder, memoryFolder } from '../../support/folder'
import { Mutator } from '../../support/mutate'

const GOLDEN = resolve(import.meta.dirname, '../../golden')
const EACH = 400
/** ms of processor time that one damaged file may take. */
const LONGEST = 2000

type Files = Record<string, Uint8Array>
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
const bytes = (content: string) => new TextEncoder().encode(content)

async function filesOf(path: string): Promise<Files> {
  const source = diskFolder(resolve(GOLDEN, path))
  const names = (await source.list()).map(({ name }) => name).filter((name) => !name.includes('/') && !name.startsWith('golden')) // prettier-ignore
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await source.read(name)] as const)))
}

/** Runs work on each damaged version; how many were refused. */
async function fuzz(seed: number, damage: (mutator: Mutator) => Files, work: (source: FileSource) => Promise<void>) {
  let refused = 0
  for (let i = 0; i < EACH; i++) {
    const files = damage(new Mutator(seed * 100_000 + i))
    const before = process.cpuUsage()
    try {
      await work(memoryFolder(files))
    } catch (error) {
      if (!(error instanceof CodedError))
        throw new Error(`mutation ${i} of ${seed}: ${String(error)}`, { cause: error })
      expect(
        [error.what, error.fix].every((part) => part !== ''),
        `mutation ${i}: ${error.code}`,
      ).toBe(true)
      refused++
    }
    const { user, system } = process.cpuUsage(before)
    expect((user + system) / 1000, `mutation ${i} of ${seed}`).toBeLessThan(LONGEST)
  }
  return refused
}

/** A record that holds together with weights that have the shapes and bytes it says. */
async function openModel(source: FileSource): Promise<void> {
  const record = await inspectModel(source, 'local:fuzz', 'fuzz')
  const weights = await openWeights(source)
  let count = 0
  for (const name of weights.names) {
    const { dtype, shape, bytes: data } = await weights.read(name)
    expect(data.length).toBe(byteLength(dtype, shape))
    count += shape.reduce((product, size) => product * size, 1)
  }
  expect(record.parameters).toBeLessThanOrEqual(count)
  for (const value of [record.vocabulary, record.layers, record.hidden, record.context, record.shape.headDim])
    expect(Number.isSafeInteger(value) && value > 0).toBe(true)
  expect(record.parameters).toBeGreaterThanOrEqual(record.vocabulary * record.hidden)
}

describe('damaged files', { timeout: 240_000 }, () => {
  it('safetensors', async () => {
    const files = await filesOf('llama-gqa-tied')
    const weights = files['model.safetensors'] as Uint8Array
    const head = 8 + Number(new DataView(weights.buffer, weights.byteOffset).getBigUint64(0, true))
    const refused = await fuzz(1, (mutator) => {
      if (mutator.pick(2) === 0) return { ...files, 'model.safetensors': mutator.bytes(weights, head) }
      const json = bytes(mutator.json(text(weights.slice(8, head))))
      const out = new Uint8Array(8 + json.length + weights.length - head)
      new DataView(out.buffer).setBigUint64(0, BigInt(json.length), true)
      out.set(json, 8)
      out.set(weights.subarray(head), 8 + json.length)
      return { ...files, 'model.safetensors': out }
    }, openModel) // prettier-ignore
    expect(refused).toBeGreaterThan(EACH / 2)
  })

  it.each(['llama-gqa-tied', 'gemma3-text', 'gpt2'])('configs: %s', async (name) => {
    const files = await filesOf(name)
    const config = files['config.json'] as Uint8Array
    const refused = await fuzz(2 + name.length, (mutator) => {
      const damaged = mutator.pick(3) === 0 ? mutator.bytes(config) : bytes(mutator.json(text(config)))
      return { ...files, 'config.json': damaged }
    }, openModel) // prettier-ignore
    expect(refused).toBeGreaterThan(EACH / 10)
  })

  it('tokenizers', async () => {
    const files = await filesOf('llama-gqa-tied')
    const { 'tokenizer.json': json, 'tokenizer_config.json': config } = files as Required<Files>
    await fuzz(3, (mutator) => {
      if (mutator.pick(4) === 0) return { ...files, 'tokenizer_config.json': bytes(mutator.json(text(config as Uint8Array))) }
      const damaged = mutator.pick(3) === 0 ? mutator.bytes(json as Uint8Array) : bytes(mutator.json(text(json as Uint8Array)))
      return { ...files, 'tokenizer.json': damaged }
    }, async (source) => {
      const tokenizer = await loadTokenizer(source)
      const ids = tokenizer.encode('The cat,  sat 12 times\n<s>½🙂')
      expect(ids.every((id) => Number.isInteger(id) && id >= 0 && id < tokenizer.vocabularySize)).toBe(true)
      expect(typeof tokenizer.decode(ids)).toBe('string')
      const template = await loadChatTemplate(source, tokenizer)
      template.render([{ role: 'user', content: 'hi' }], { addGenerationPrompt: true })
    }) // prettier-ignore
  })

  it('adapters', async () => {
    const base = await openWeights(diskFolder(resolve(GOLDEN, 'llama-gqa-tied')))
    const files = await filesOf('llama-gqa-tied/adapter_init')
    const { 'adapter_config.json': config, 'adapter_model.safetensors': weights } = files as Required<Files>
    const refused = await fuzz(4, (mutator) => {
      if (mutator.pick(2) === 0) return { ...files, 'adapter_config.json': bytes(mutator.json(text(config as Uint8Array))) }
      return { ...files, 'adapter_model.safetensors': mutator.bytes(weights as Uint8Array, 2500) }
    }, async (source) => {
      const adapter = await readAdapter(source)
      for (const { a, b, scale, rank } of loraDeltas(adapter)) {
        expect([a.shape[0], b.shape[1]]).toEqual([rank, rank])
        expect(Number.isFinite(scale)).toBe(true)
      }
      const merged = mergeWeights(base, adapter)
      await merged.read('model.layers.0.self_attn.q_proj.weight')
    }) // prettier-ignore
    expect(refused).toBeGreaterThan(EACH / 4)
  })

  it('GGUF', async () => {
    const file = (await filesOf('gguf-models'))['llama-gqa-tied-q4_0.gguf'] as Uint8Array
    const refused = await fuzz(5, (mutator) => ({ 'm.gguf': mutator.bytes(file, 8000) }), async (source) => {
      await openModel(await asModelFolder(source))
    }) // prettier-ignore
    expect(refused).toBeGreaterThan(EACH / 4)
  })

  it('zips', async () => {
    const files = await filesOf('llama-gqa-tied/adapter_init')
    const inputs = Object.entries(files).map(([name, input]) => ({ name: `a/${name}`, input }))
    const zip = new Uint8Array(await downloadZip(inputs).arrayBuffer())
    const tail = 400
    const refused = await fuzz(6, (mutator) => {
      // Half of the damage goes to the list at the end.
      const turned = mutator.pick(2) === 0 ? mutator.bytes(zip.toReversed(), tail).toReversed() : mutator.bytes(zip)
      return { 'a.zip': turned }
    }, async (source) => {
      const opened = await readZip(await source.read('a.zip'))
      for (const { name, size } of await opened.list()) {
        expect(name.split('/')).not.toContain('..')
        const content = await opened.read(name)
        expect(content.length).toBe(size)
        // The checksum stands for the content: what is read is what was packed.
        const own = files[name.replace(/^a\//, '')]
        if (own) expect(Buffer.compare(content, own)).toBe(0)
      }
    }) // prettier-ignore
    expect(refused).toBeGreaterThan(EACH / 4)
  })
})
