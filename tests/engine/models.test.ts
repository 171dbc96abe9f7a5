/** Loading models: what is read, and every kind of bad model refused with its reason and without leaving anything behind. */
import { describe, expect, it } from 'vitest'
import { inspectModel, loadModel } from '../../src/engine'
import { readSafetensorsHeader, readTensor, writeSafetensors } from '../../src/engine/formats/safetensors'
import { tf } from '../../src/engine/tf'
import type { CodedError, ErrorCode } from '../../src/shared/errors'
import type { FileSource } from '../../src/shared/files'
import type { TensorData } from '../../src/shared/records'
import { goldenSource } from '../support/golden'

const CASE = 'llama-gqa-tied'

/** The folder with some files replaced; null takes a file away. */
async function changed(files: Record<string, Uint8Array | string | null>): Promise<FileSource> {
  const source = await goldenSource(CASE)
  const own = new Map(
    Object.entries(files).map(([name, content]) => [name, typeof content === 'string' ? new TextEncoder().encode(content) : content]), // prettier-ignore
  )
  return {
    list: async () => {
      const kept = (await source.list()).filter(({ name }) => !own.has(name))
      return [...kept, ...[...own].flatMap(([name, bytes]) => (bytes ? [{ name, size: bytes.length }] : []))]
    },
    read: async (name, start, end) => {
      if (!own.has(name)) return source.read(name, start, end)
      const bytes = own.get(name)
      if (!bytes) return source.read(`${name} is gone`)
      return bytes.slice(start, end)
    },
  }
}

async function config(change: Record<string, unknown>): Promise<string> {
  const text = new TextDecoder().decode(await (await goldenSource(CASE)).read('config.json'))
  return JSON.stringify({ ...(JSON.parse(text) as object), ...change })
}

async function weights(change: (tensors: Record<string, TensorData>) => void): Promise<Uint8Array> {
  const source = await goldenSource(CASE)
  const header = await readSafetensorsHeader(source, 'model.safetensors')
  const tensors: Record<string, TensorData> = {}
  for (const name of header.tensors.keys()) tensors[name] = await readTensor(source, header, name)
  change(tensors)
  return writeSafetensors(tensors)
}

async function refusal(files: Parameters<typeof changed>[0]): Promise<CodedError> {
  const source = await changed(files)
  const before = tf.memory().numTensors
  const error = (await loadModel(source, { id: 'local:x', name: 'x' }).then(
    () => new Error('was not refused'),
    (reason: unknown) => reason,
  )) as CodedError
  expect(tf.memory().numTensors, 'tensors left behind').toBe(before)
  return error
}

describe('a good model', () => {
  it('is inspected without a device', async () => {
    const record = await inspectModel(await goldenSource(CASE), 'local:x', 'tiny')
    expect(record).toMatchObject({
      id: 'local:x',
      name: 'tiny',
      family: 'llama',
      vocabulary: 101,
      context: 128,
      layers: 2,
      hidden: 32,
      dtype: 'F32',
      hasChatTemplate: false,
      shape: { heads: 4, kvHeads: 2, headDim: 8, tiedHead: true },
    })
    const perLayer = 32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 56 + 2 * 32
    expect(record.parameters).toBe(101 * 32 + 2 * perLayer + 32)
  })

  it('loads with progress, and from a file that has only lm_head.weight', async () => {
    const file = await weights((tensors) => {
      tensors['lm_head.weight'] = tensors['model.embed_tokens.weight']!
      delete tensors['model.embed_tokens.weight']
    })
    const seen: number[] = []
    const before = tf.memory().numTensors
    const source = await changed({ 'model.safetensors': file })
    const model = await loadModel(source, { id: 'local:x', name: 'x', onProgress: ({ done, total }) => seen.push(done / total) }) // prettier-ignore
    expect(seen.at(-1)).toBe(1)
    model.dispose()
    expect(tf.memory().numTensors).toBe(before)
  })

  it('stops loading when it is told to', async () => {
    const source = await goldenSource(CASE)
    const controller = new AbortController()
    const before = tf.memory().numTensors
    const load = loadModel(source, { id: 'local:x', name: 'x', signal: controller.signal, onProgress: () => controller.abort() }) // prettier-ignore
    await expect(load).rejects.toMatchObject({ name: 'AbortError' })
    expect(tf.memory().numTensors).toBe(before)
  })
})

describe('a bad model', () => {
  it.each<[string, Record<string, unknown>, ErrorCode, RegExp]>([
    ['an unknown type', { model_type: 'lama' }, 'model.unsupported', /Nearest supported: llama/],
    ['no type', { model_type: undefined }, 'model.config', /model_type/],
    ['quantised weights', { quantization_config: { bits: 4 } }, 'model.unsupported', /quantised/],
    ['a missing field', { hidden_size: undefined }, 'model.config', /hidden_size is missing/],
    ['absurd fields, all named', { num_hidden_layers: 1e9, rms_norm_eps: -1 }, 'model.config', /num_hidden_layers.*rms_norm_eps/], // prettier-ignore
    ['heads that do not divide', { num_key_value_heads: 3 }, 'model.config', /not a multiple/],
    ['another activation', { hidden_act: 'relu' }, 'model.config', /hidden_act is "relu"/],
    ['a rope that is unknown', { rope_parameters: { rope_type: 'x' } }, 'model.config', /rope_type/],
    [
      'other widths than its weights',
      { intermediate_size: 64 },
      'model.tensors',
      /\[56, 32\] and should be \[64, 32\]/,
    ],
    ['more layers than its weights', { num_hidden_layers: 3 }, 'model.tensors', /Missing: model\.layers\.2/],
    ['fewer layers than its weights', { num_hidden_layers: 1 }, 'model.tensors', /Unexpected: model\.layers\.1/],
    ['an untied head that is not there', { tie_word_embeddings: false }, 'model.tensors', /Missing: lm_head\.weight/],
    ['fewer rows than tokens', { vocab_size: 50 }, 'model.tensors', /embed_tokens/],
  ])('with %s', async (_, change, code, words) => {
    const error = await refusal({ 'config.json': await config(change) })
    expect(error.code).toBe(code)
    expect(`${error.what} ${error.fix}`).toMatch(words)
    expect(error.where).not.toBe('')
  })

  it('without config.json', async () => {
    expect((await refusal({ 'config.json': null })).code).toBe('file.missing')
  })

  it('with a config.json that is not JSON', async () => {
    expect((await refusal({ 'config.json': '{' })).code).toBe('model.config')
  })

  it.each([Number.NaN, Number.POSITIVE_INFINITY])('with %s among its weights', async (bad) => {
    const file = await weights((tensors) => {
      const { bytes } = tensors['model.layers.1.mlp.down_proj.weight']!
      new DataView(bytes.buffer, bytes.byteOffset).setFloat32(4 * 77, bad, true)
    })
    const error = await refusal({ 'model.safetensors': file })
    expect(error.code).toBe('model.not-finite')
    expect(error.where).toContain('model.layers.1.mlp.down_proj.weight, element 77')
  })

  it('with everything that is wrong with its tensors in one message', async () => {
    const file = await weights((tensors) => {
      delete tensors['model.norm.weight']
      tensors['extra.weight'] = tensors['model.layers.0.input_layernorm.weight']!
    })
    const { code, what } = await refusal({ 'model.safetensors': file })
    expect(code).toBe('model.tensors')
    expect(what).toContain('Missing: model.norm.weight [32]')
    expect(what).toContain('Unexpected: extra.weight')
  })
})
