/** GGUF files as folders: real tokenizers there and back, reading by any range, and files that are not what they say. */
import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { exportGguf, exportGgufLora } from '../../../../src/engine/formats/gguf-export'
import { asModelFolder, findGguf, ggufFolder } from '../../../../src/engine/formats/gguf-source'
import { ggufTokenizer, LLAMA3_PATTERN } from '../../../../src/engine/formats/gguf-tokenizer'
import { writeGguf, type GgufMetadata, type GgufTensor } from '../../../../src/engine/formats/gguf-write'
import { collect } from '../../../../src/engine/formats/out-file'
import { readPeft } from '../../../../src/engine/formats/peft'
import { openWeights } from '../../../../src/engine/formats/checkpoint-index'
import { toFloat32 } from '../../../../src/engine/formats/safetensors'
import { inspectModel } from '../../../../src/engine'
import { loadTokenizer } from '../../../../src/engine/tokenizer'
import { QWEN_PATTERN, readTokenizerFiles } from '../../../../src/engine/tokenizer/files'
import type { FileSource } from '../../../../src/shared/files'
import { dataFolder, diskFolder, memoryFolder } from '../../../support/folder'

const GOLDEN = resolve(import.meta.dirname, '../../../golden')
const FILE = 'm.gguf'
const TEXTS = [
  'Once upon a time there was a little girl named Lily.',
  'Who are you?  I am  "nobody",\n\tshe said – 12 times! It\'s 3.14159, or 2024.',
  'Ünïcödé, 日本語, emoji 🙂👩‍👩‍👧 and a ½',
  ' leading and trailing ',
  'def f(x):\n    return x**2  # comment\n\n\n',
  '<|im_start|>user\nHi<|im_end|>\n<|endoftext|></s><s>',
  '',
]

/** A llama of one layer with nothing in it, around given tokenizer entries. */
function tiny(tokenizer: GgufMetadata, vocabulary: number, change: { metadata?: GgufMetadata; drop?: string } = {}) {
  const u32 = (value: number) => ({ type: 'u32' as const, value })
  const metadata: GgufMetadata = [
    ['general.architecture', { type: 'string', value: 'llama' }],
    ['llama.block_count', u32(1)],
    ['llama.context_length', u32(64)],
    ['llama.embedding_length', u32(4)],
    ['llama.feed_forward_length', u32(6)],
    ['llama.attention.head_count', u32(2)],
    ['llama.attention.layer_norm_rms_epsilon', { type: 'f32', value: 1e-5 }],
    ...tokenizer,
    ...(change.metadata ?? []),
  ]
  const kept = new Map(metadata)
  const shapes: Record<string, number[]> = {
    'token_embd.weight': [vocabulary, 4],
    'output_norm.weight': [4],
    'blk.0.attn_norm.weight': [4],
    'blk.0.ffn_norm.weight': [4],
    'blk.0.attn_q.weight': [4, 4],
    'blk.0.attn_k.weight': [4, 4],
    'blk.0.attn_v.weight': [4, 4],
    'blk.0.attn_output.weight': [4, 4],
    'blk.0.ffn_gate.weight': [6, 4],
    'blk.0.ffn_up.weight': [6, 4],
    'blk.0.ffn_down.weight': [4, 6],
  }
  const tensors = Object.entries(shapes).map(([name, shape]): GgufTensor => {
    const size = shape.reduce((a, b) => a * b, 1)
    return { name, shape, type: 'F16', values: async () => Float32Array.from({ length: size }, (_, i) => i / 8) }
  })
  return collect(
    writeGguf(
      FILE,
      [...kept].filter(([key]) => key !== change.drop),
      tensors.filter(({ name }) => name !== change.drop),
    ),
  )
}

async function thereAndBack(source: FileSource) {
  const tokenizer = await loadTokenizer(source)
  const size = tokenizer.vocabularySize + 3
  const entries = ggufTokenizer(await readTokenizerFiles(source), tokenizer, size, 'template {{ x }}')
  const folder = await ggufFolder(memoryFolder({ [FILE]: await tiny(entries, size) }), FILE)
  return { tokenizer, back: await loadTokenizer(folder), folder }
}

describe('the way a tokenizer splits text', () => {
  const splitBy = (...patterns: string[]) => ({
    type: 'Sequence',
    pretokenizers: [
      ...patterns.map((Regex) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false })),
      { type: 'ByteLevel', add_prefix_space: false, use_regex: false },
    ],
  })
  const words = { type: 'ByteLevel', add_prefix_space: false, use_regex: true }
  const digits = (individual_digits: boolean) => ({ type: 'Digits', individual_digits })
  async function named(preTokenizer: object, ignore_merges = false): Promise<unknown> {
    const source = diskFolder(resolve(GOLDEN, 'llama-gqa-tied'))
    const spec = await readTokenizerFiles(source)
    const changed = { ...spec, preTokenizer: preTokenizer as never, model: { ...spec.model, ignore_merges } }
    const entries = ggufTokenizer(changed, await loadTokenizer(source), 10, undefined)
    return new Map(entries).get('tokenizer.ggml.pre')?.value
  }

  it('is written by the name that llama.cpp has for exactly that', async () => {
    expect(await named(words)).toBe('gpt-2')
    expect(await named({ type: 'Sequence', pretokenizers: [digits(true), words] })).toBe('smollm')
    expect(await named(splitBy(QWEN_PATTERN))).toBe('qwen2')
    expect(await named(splitBy(LLAMA3_PATTERN), true)).toBe('llama-bpe')
    expect(await named(splitBy(LLAMA3_PATTERN))).toBe('dbrx')
  })

  it('is refused where llama.cpp would cut other tokens', async () => {
    const others = [
      splitBy('\\p{N}{1,3}', '[一-龥]+'),
      splitBy(LLAMA3_PATTERN.replace('{1,3}', '{1,2}')),
      splitBy(QWEN_PATTERN, '\\d'),
      { type: 'Sequence', pretokenizers: [digits(false), words] },
      { type: 'Sequence', pretokenizers: [{ type: 'Punctuation' }, words] },
    ]
    for (const other of others)
      await expect(named(other)).rejects.toMatchObject({ code: 'model.tokenizer', where: expect.stringContaining('pre_tokenizer') }) // prettier-ignore
  })
})

describe('tokenizers', { timeout: 60_000 }, () => {
  it.each(['gpt2', 'qwen2.5', 'smollm-135m', 'maykeye-tinyllama-v0'])('%s cuts text as before', async (name) => {
    const path = dataFolder(`tokenizers/${name}`)
    if (!path) return
    const { tokenizer, back, folder } = await thereAndBack(diskFolder(path))
    // This one's own files hide special tokens in running text, which GGUF cannot say.
    for (const text of TEXTS.filter((one) => name !== 'maykeye-tinyllama-v0' || !one.includes('<'))) {
      const plain = { addSpecialTokens: false }
      expect([text, back.encode(text, plain)]).toEqual([text, tokenizer.encode(text, plain)])
      expect(back.encode(text)).toEqual(tokenizer.encode(text))
      const ids = tokenizer.encode(text)
      expect(back.decode(ids, { skipSpecialTokens: true })).toBe(tokenizer.decode(ids, { skipSpecialTokens: true }))
    }
    expect([back.bosId, back.eosId, back.padId]).toEqual([tokenizer.bosId, tokenizer.eosId, tokenizer.padId])
    expect(new TextDecoder().decode(await folder.read('tokenizer_config.json'))).toContain('template {{ x }}')
  })

  it('tinystories-656K goes out as GGUF and comes in as the same model', async () => {
    const path = dataFolder('models/tinystories-656K')
    if (!path) return
    const source = diskFolder(path)
    const tokenizer = await loadTokenizer(source)
    const { file } = await exportGguf({ source, adapter: null, tokenizer, type: 'F32', name: 'stories' })
    const folder = await asModelFolder(memoryFolder({ [FILE]: await collect(file) }))
    const record = await inspectModel(folder, 'local:gguf', 'stories')
    const wanted = await inspectModel(source, 'local:gguf', 'stories')
    expect({ ...record, bytes: 0 }).toEqual({ ...wanted, bytes: 0 })
    const back = await loadTokenizer(folder)
    for (const text of TEXTS) expect(back.encode(text)).toEqual(tokenizer.encode(text))
  })
})

describe('weights', () => {
  it('are the same by any range', async () => {
    const path = resolve(GOLDEN, 'gguf-models')
    const folder = await ggufFolder(diskFolder(path), 'llama-gqa-tied-q4_0.gguf')
    const { size } = (await folder.list()).find(({ name }) => name === 'model.safetensors')!
    const whole = await folder.read('model.safetensors')
    expect(whole.length).toBe(size)
    for (let at = 0, step = 1; at < size; at += step, step = (step * 7 + 13) % 1999) {
      expect(await folder.read('model.safetensors', at, at + step)).toEqual(whole.slice(at, at + step))
    }
  })

  it('lie as in the model that they were made from', async () => {
    const source = diskFolder(resolve(GOLDEN, 'llama-gqa-tied'))
    const tokenizer = await loadTokenizer(source)
    const { file } = await exportGguf({ source, adapter: null, tokenizer, type: 'F32', name: 'x' })
    const [back, own] = [await openWeights(await asModelFolder(memoryFolder({ [FILE]: await collect(file) }))), await openWeights(source)] // prettier-ignore
    expect([...back.names].sort()).toEqual([...own.names].sort())
    for (const name of own.names) expect(toFloat32(await back.read(name))).toEqual(toFloat32(await own.read(name)))
  })
})

describe('what cannot be read', () => {
  const tokens = ['<unk>', '<s>', '</s>', 'a', 'b', 'ab', '▁', '▁a']
  const vocabulary = (change: Record<string, GgufMetadata[number][1]> = {}): GgufMetadata => {
    const entries: Record<string, GgufMetadata[number][1]> = {
      'tokenizer.ggml.model': { type: 'string', value: 'llama' },
      'tokenizer.ggml.tokens': { type: 'array', of: 'string', value: tokens },
      'tokenizer.ggml.scores': { type: 'array', of: 'f32', value: tokens.map((_, i) => -i) },
      'tokenizer.ggml.token_type': { type: 'array', of: 'i32', value: [2, 3, 3, 1, 1, 1, 1, 1] },
      ...change,
    }
    return Object.entries(entries)
  }
  const open = async (entries: GgufMetadata, change: Parameters<typeof tiny>[2] = {}) =>
    inspectModel(await asModelFolder(memoryFolder({ [FILE]: await tiny(entries, tokens.length, change) })), 'x', 'x')

  it('opens the plain one', async () => {
    expect(await open(vocabulary())).toMatchObject({ family: 'llama', vocabulary: 8, layers: 1, dtype: 'F16' })
  })

  it.each([
    ['model.unsupported', { metadata: [['general.architecture', { type: 'string', value: 'bloom' }]] }],
    ['model.unsupported', { metadata: [['general.type', { type: 'string', value: 'adapter' }]] }],
    ['model.unsupported', { metadata: [['llama.expert_count', { type: 'u32', value: 8 }]] }],
    ['model.unsupported', { metadata: [['llama.rope.dimension_count', { type: 'u32', value: 1 }]] }],
    ['model.unsupported', { metadata: [['llama.rope.scaling.type', { type: 'string', value: 'odd' }]] }],
    ['model.config', { drop: 'llama.block_count' }],
    ['model.config', { metadata: [['llama.attention.head_count', { type: 'array', of: 'i32', value: [2] }]] }],
    ['model.config', { metadata: [['llama.attention.head_count', { type: 'u32', value: 3 }]] }],
    ['model.tensors', { metadata: [['llama.block_count', { type: 'u32', value: 2 }]] }],
    ['model.tensors', { drop: 'blk.0.attn_v.weight' }],
    ['model.tensors', { drop: 'token_embd.weight' }],
  ] as [string, Parameters<typeof tiny>[2]][])('%s: %j', async (code, change) => {
    await expect(open(vocabulary(), change)).rejects.toMatchObject({ code: code === 'model.tensors' && change?.drop === 'token_embd.weight' ? expect.stringMatching(/^model\./) : code }) // prettier-ignore
  })

  it.each([
    [{ 'tokenizer.ggml.model': { type: 'string', value: 'bert' } }],
    [{ 'tokenizer.ggml.tokens': { type: 'array', of: 'string', value: [...tokens.slice(1), 'b'] } }],
    [{ 'tokenizer.ggml.scores': { type: 'array', of: 'f32', value: [1] } }],
    [{ 'tokenizer.ggml.token_type': { type: 'array', of: 'i32', value: [1] } }],
    [{ 'tokenizer.ggml.tokens': { type: 'array', of: 'i32', value: [1] } }],
    [{ 'tokenizer.ggml.model': { type: 'string', value: 'gpt2' } }],
    [{ 'tokenizer.ggml.model': { type: 'string', value: 'gpt2' }, 'tokenizer.ggml.pre': { type: 'string', value: 'odd' } }], // prettier-ignore
  ] as [Record<string, GgufMetadata[number][1]>][])('model.tokenizer: %j', async (change) => {
    await expect(open(vocabulary(change))).rejects.toMatchObject({ code: 'model.tokenizer' })
  })

  it('is an adapter, or several files, or a folder with other weights', async () => {
    const source = diskFolder(resolve(GOLDEN, 'llama-gqa-tied'))
    const adapter = await readPeft(diskFolder(resolve(GOLDEN, 'llama-gqa-tied', 'adapter_init')))
    const { file } = await exportGgufLora({ source, adapter, name: 'x' })
    await expect(asModelFolder(memoryFolder({ [FILE]: await collect(file) }))).rejects.toMatchObject({ code: 'model.unsupported' }) // prettier-ignore
    await expect(findGguf(memoryFolder({ 'a.gguf': '', 'b.gguf': '' }))).rejects.toMatchObject({ code: 'model.config' })
    expect(await findGguf(memoryFolder({ 'a.gguf': '', 'config.json': '' }))).toBeNull()
    expect(await findGguf(memoryFolder({ 'deep/a.GGUF': '', 'README.md': '' }))).toBe('deep/a.GGUF')
  })
})
