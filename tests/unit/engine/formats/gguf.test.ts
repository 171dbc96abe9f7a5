/** GGUF: packings and files against the gguf package (scripts/golden/record_gguf.py), whole exports, and files that lie. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
import { describe, expect, it } from 'vitest'
import { byteCount, decodeTensor, encodeTensor, type GgmlType } from '../../../../src/engine/formats/ggml-types'
import { readGguf, readGgufTensor } from '../../../../src/engine/formats/gguf-read'
import { writeGguf, type GgufMetadata } from '../../../../src/engine/formats/gguf-write'
import { checkGguf, exportGguf, exportGgufLora } from '../../../../src/engine/formats/gguf-export'
import { collect } from '../../../../src/engine/formats/out-file'
import { asLora, readPeft, type LoraPeft } from '../../../../src/engine/formats/peft'
import { toFloat32 } from '../../../../src/engine/formats/safetensors'
import { loadTokenizer } from '../../../../src/engine/tokenizer'
import { CodedError } from '../../../../src/shared/errors'
import { dataFolder, diskFolder, memoryFolder } from '../../../support/folder'

const GOLDEN = resolve(import.meta.dirname, '../../../golden')
const golden = JSON.parse(readFileSync(resolve(GOLDEN, 'gguf.json'), 'utf8')) as {
  values: string
  packed: Record<Exclude<GgmlType, 'F32'>, { bytes: string; values: string }>
  file: string
}
const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'base64'))
const floats = (text: string) => new Float32Array(bytes(text).buffer)
const FILE = 'model.gguf'

describe('packings', () => {
  for (const type of ['F16', 'BF16', 'Q8_0'] as const) {
    it(`writes ${type} byte for byte as the gguf package does`, () => {
      const { bytes: wanted } = golden.packed[type]
      expect(Buffer.from(encodeTensor(type, floats(golden.values))).toString('base64')).toBe(wanted)
    })
  }
  for (const type of Object.keys(golden.packed) as (keyof typeof golden.packed)[]) {
    it(`reads ${type} bit for bit as the gguf package does`, () => {
      const { bytes: data, values } = golden.packed[type]
      expect([...decodeTensor(type, bytes(data))]).toEqual([...floats(values)])
      expect(byteCount(type, [floats(values).length])).toBe(bytes(data).length)
    })
  }
  it('knows which rows are no whole blocks', () => {
    expect(byteCount('Q8_0', [4, 33])).toBeNaN()
    expect(byteCount('F16', [4, 33])).toBe(264)
  })
})

describe('files', () => {
  it('reads what the gguf package wrote', async () => {
    const source = memoryFolder({ [FILE]: bytes(golden.file) })
    const file = await readGguf(source, FILE)
    expect(Object.fromEntries(file.metadata)).toMatchObject({
      'general.architecture': 'llama',
      'a.u32': 4_000_000_000,
      'a.i32': -5,
      'a.f32': 0.5,
      'a.bool': true,
      'a.text': 'Grüße 😀',
      'a.numbers': [1, -2, 3],
      'a.floats': [0.5, 1.5],
      'a.texts': ['Ġa', '', 'b c'],
      'a.u8': 200,
      'a.i8': -100,
      'a.u16': 60_000,
      'a.i16': -30_000,
      'a.u64': 2 ** 40,
      'a.i64': -(2 ** 40),
      'a.f64': 0.1,
    })
    expect(file.tensors.get('matrix')).toMatchObject({ shape: [8, 32], type: 'F16' })
    expect([...(await readGgufTensor(source, file, 'vector'))]).toEqual([...floats(golden.values).subarray(0, 7)])
    expect([...(await readGgufTensor(source, file, 'packed'))]).toEqual([...floats(golden.packed.Q8_0.values)])
    await expect(readGgufTensor(source, file, 'none')).rejects.toMatchObject({ code: 'model.tensors' })
  })

  it('reads back what it writes, of every kind', async () => {
    const metadata: GgufMetadata = [
      ['u', { type: 'u32', value: 7 }],
      ['i', { type: 'i32', value: -7 }],
      ['f', { type: 'f32', value: 0.25 }],
      ['b', { type: 'bool', value: false }],
      ['l', { type: 'u64', value: 2 ** 40 }],
      ['s', { type: 'string', value: 'ü' }],
      ['texts', { type: 'array', of: 'string', value: ['a', ''] }],
      ['ints', { type: 'array', of: 'i32', value: [] }],
      ['floats', { type: 'array', of: 'f32', value: [0.5] }],
    ]
    const values = Float32Array.from({ length: 35 }, (_, i) => i / 8)
    const tensors = [
      { name: 'odd', shape: [5, 7], type: 'F32' as const, values: async () => values },
      { name: 'half', shape: [35], type: 'F16' as const, values: async () => values },
    ]
    const source = memoryFolder({ [FILE]: await collect(writeGguf(FILE, metadata, tensors)) })
    const file = await readGguf(source, FILE)
    expect(Object.fromEntries(file.metadata)).toEqual({
      u: 7,
      i: -7,
      f: 0.25,
      b: false,
      l: 2 ** 40,
      s: 'ü',
      texts: ['a', ''],
      ints: [],
      floats: [0.5],
    })
    expect(await checkGguf(source, FILE, tensors)).toEqual({ tensors: 2, largestDifference: 0 })
    const other = tensors.map((tensor) => ({ ...tensor, values: async () => values.map((value) => value + 1) }))
    await expect(checkGguf(source, FILE, other)).rejects.toMatchObject({ code: 'export.verify' })
    await expect(checkGguf(source, FILE, tensors.slice(1))).rejects.toMatchObject({ code: 'export.verify' })
  })

  it('never crashes on 1,000 mutations, and never reads past its tensors', { timeout: 60_000 }, async () => {
    const real = bytes(golden.file)
    const random = xoroshiro128plus(11)
    const pick = (below: number) => uniformInt(random, 0, below - 1)
    let refused = 0
    for (let i = 0; i < 1000; i++) {
      const changed = real.slice(0, pick(8) === 0 ? pick(real.length) : real.length)
      for (let n = pick(3); n >= 0 && changed.length > 0; n--)
        changed[pick(Math.min(changed.length, 900))] = [0, 255, 1, pick(256)][pick(4)]!
      try {
        const source = memoryFolder({ [FILE]: changed })
        const file = await readGguf(source, FILE)
        for (const name of file.tensors.keys()) await readGgufTensor(source, file, name)
      } catch (error) {
        expect(error).toBeInstanceOf(CodedError)
        refused++
      }
    }
    expect(refused).toBeGreaterThan(300)
  })
})

describe('exports', () => {
  const load = async (name: string) => {
    const source = diskFolder(resolve(GOLDEN, name))
    const adapter = asLora(await readPeft(diskFolder(resolve(GOLDEN, name, 'adapter_init'))))
    return { source, adapter, tokenizer: await loadTokenizer(source), name }
  }

  it('reads back equal, in every type', async () => {
    const input = await load('llama-gqa-tied')
    for (const type of ['F32', 'F16', 'Q8_0'] as const) {
      const { file, tensors } = await exportGguf({ ...input, type })
      const check = await checkGguf(memoryFolder({ [FILE]: await collect(file) }), FILE, tensors)
      expect(check.tensors).toBe(20)
      if (type === 'F32') expect(check.largestDifference).toBe(0)
      else expect(check.largestDifference).toBeGreaterThan(0)
    }
  })

  it('is the base model without an adapter', async () => {
    const { tensors } = await exportGguf({ ...(await load('qwen2')), adapter: null, type: 'F32' })
    const tuned = await exportGguf({ ...(await load('qwen2')), type: 'F32' })
    const value = async (list: typeof tensors, name: string) =>
      (await list.find((one) => one.name === name)!.values())[0]
    expect(await value(tensors, 'output_norm.weight')).toBe(await value(tuned.tensors, 'output_norm.weight'))
    expect(await value(tensors, 'blk.0.attn_v.weight')).not.toBe(await value(tuned.tensors, 'blk.0.attn_v.weight'))
  })

  it('folds rsLoRA and other alphas into what llama.cpp multiplies by', async () => {
    const { source, adapter, name } = await load('llama-gqa-tied')
    const change = (config: Partial<LoraPeft['config']>) => ({
      ...adapter,
      config: { ...adapter.config, ...config },
    })
    const read = async (changed: LoraPeft) => {
      const { file, tensors } = await exportGgufLora({ source, adapter: changed, name })
      const gguf = await readGguf(memoryFolder({ [FILE]: await collect(file) }), FILE)
      const b = await tensors.find((one) => one.name === 'blk.1.ffn_up.weight.lora_b')!.values()
      return { alpha: gguf.metadata.get('adapter.lora.alpha'), b: b[0]! }
    }
    const plain = await read(adapter)
    expect(plain.alpha).toBe(8)
    expect(await read(change({ use_rslora: true }))).toEqual({ alpha: 16, b: plain.b })
    expect(await read(change({ alpha_pattern: { 'layers.1.mlp.up_proj': 4 } }))).toEqual({ alpha: 8, b: plain.b / 2 })
  })

  it('writes a real SentencePiece model whose head stands alone', async () => {
    const path = dataFolder('models/tinystories-656K')
    if (!path) return
    const source = diskFolder(path)
    const tokenizer = await loadTokenizer(source)
    const { file, tensors } = await exportGguf({ source, adapter: null, tokenizer, type: 'Q8_0', name: 'stories' })
    const written = memoryFolder({ [FILE]: await collect(file) })
    await checkGguf(written, FILE, tensors)
    const { metadata, tensors: found } = await readGguf(written, FILE)
    expect(found.get('token_embd.weight')).toMatchObject({ shape: [2048, 128], type: 'Q8_0' })
    expect(found.has('output.weight')).toBe(false)
    expect(Object.fromEntries(metadata)).toMatchObject({
      'tokenizer.ggml.model': 'llama',
      'tokenizer.ggml.bos_token_id': 1,
      'tokenizer.ggml.eos_token_id': 2,
      'tokenizer.ggml.add_bos_token': true,
      'tokenizer.ggml.add_space_prefix': true,
      'llama.attention.head_count_kv': 4,
    })
    const types = metadata.get('tokenizer.ggml.token_type') as number[]
    expect(types.slice(0, 4)).toEqual([2, 3, 3, 1])
  })

  it('refuses families, tokenizers and layers that it cannot write', async () => {
    const { source, adapter, tokenizer, name } = await load('llama-gqa-tied')
    const changed = async (config: Record<string, unknown>) => {
      const files: Record<string, Uint8Array> = {}
      for (const file of ['config.json', 'tokenizer.json', 'model.safetensors']) files[file] = await source.read(file)
      const old = JSON.parse(new TextDecoder().decode(files['config.json'])) as object
      files['config.json'] = new TextEncoder().encode(JSON.stringify({ ...old, ...config }))
      return memoryFolder(files)
    }
    const write = (from: typeof source) => exportGguf({ source: from, adapter, tokenizer, type: 'F16', name })
    await expect(write(await changed({ model_type: 'bloom' }))).rejects.toMatchObject({ code: 'model.unsupported' })
    await expect(write(await changed({ model_type: 'constructor' }))).rejects.toMatchObject({
      code: 'model.unsupported',
    })
    await expect(write(await changed({ model_type: 'gpt2' }))).rejects.toMatchObject({ code: 'model.tensors' })
    // llama.cpp would take these for the usual Gemma and SmolLM3, and compute something else.
    await expect(write(await changed({ model_type: 'smollm3', no_rope_layer_interval: 2 }))).rejects.toMatchObject({
      code: 'model.unsupported',
      where: 'config.json, no_rope_layer_interval',
    })
    await expect(write(await changed({ model_type: 'gemma2', query_pre_attn_scalar: 20 }))).rejects.toMatchObject({
      where: 'config.json, query_pre_attn_scalar',
    })
    await expect(
      write(await changed({ model_type: 'gemma3_text', layer_types: ['sliding_attention', 'full_attention'] })),
    ).rejects.toMatchObject({ where: 'config.json, layer_types' })
    await expect(write(await changed({ num_hidden_layers: null }))).rejects.toMatchObject({ code: 'model.config' })
    const odd = {
      ...adapter,
      tensors: Object.fromEntries(
        Object.entries(adapter.tensors).map(([key, tensor]) => [key.replace('mlp', 'moe'), tensor]),
      ),
    }
    await expect(exportGgufLora({ source, adapter: odd, name })).rejects.toMatchObject({ code: 'adapter.mismatch' })
    await expect(exportGguf({ source, adapter: odd, tokenizer, type: 'F16', name })).rejects.toMatchObject({
      code: 'adapter.mismatch',
    })
  })

  it('keeps the adapter untouched', async () => {
    const { source, adapter, tokenizer, name } = await load('gpt2')
    const before = Object.values(adapter.tensors).map((tensor) => toFloat32(tensor)[0])
    const { file } = await exportGguf({ source, adapter, tokenizer, type: 'F16', name })
    await collect(file)
    expect(Object.values(adapter.tensors).map((tensor) => toFloat32(tensor)[0])).toEqual(before)
  })
})
