/** Weights of a folder: one file, shards with and without an index, and what is refused. */
import { describe, expect, it } from 'vitest'
import { openWeights } from '../../../../src/engine/formats/checkpoint-index'
import { fromFloat32, toFloat32, writeSafetensors } from '../../../../src/engine/formats/safetensors'
import { dataFolder, diskFolder, memoryFolder } from '../../../support/folder'

const tensor = (...values: number[]) => fromFloat32(new Float32Array(values), [values.length], 'F32')
const FIRST = 'model-00001-of-00002.safetensors'
const SECOND = 'model-00002-of-00002.safetensors'
const shards = {
  [FIRST]: writeSafetensors({ a: tensor(1, 2) }),
  [SECOND]: writeSafetensors({ b: tensor(3), extra: tensor(4) }),
}
const index = (map: unknown) => ({ 'model.safetensors.index.json': JSON.stringify({ metadata: {}, weight_map: map }) })

async function read(files: Record<string, string | Uint8Array>) {
  const weights = await openWeights(memoryFolder(files))
  const out: Record<string, number[]> = {}
  for (const name of weights.names) out[name] = [...toFloat32(await weights.read(name))]
  return out
}

describe('openWeights', () => {
  it('reads one file, and takes it before shards', async () => {
    expect(await read({ 'model.safetensors': shards[FIRST]!, ...shards })).toEqual({ a: [1, 2] })
  })

  it('reads the only safetensors file under any name, but no adapter', async () => {
    expect(await read({ 'weights.safetensors': shards[FIRST]!, 'adapter_model.safetensors': shards[SECOND]! })).toEqual(
      {
        a: [1, 2],
      },
    )
  })

  it('reads shards by their index, and only what it names', async () => {
    expect(await read({ ...shards, ...index({ a: FIRST, b: SECOND }) })).toEqual({ a: [1, 2], b: [3] })
  })

  it('reads complete shards without an index', async () => {
    expect(await read(shards)).toEqual({ a: [1, 2], b: [3], extra: [4] })
  })

  it('tells type and shape without reading', async () => {
    const weights = await openWeights(memoryFolder(shards))
    expect(weights.info('a')).toMatchObject({ dtype: 'F32', shape: [2] })
    expect(() => weights.info('z')).toThrow(expect.objectContaining({ code: 'model.tensors' }))
  })

  it.each<[string, Record<string, string | Uint8Array>, string]>([
    ['an empty folder', { 'config.json': '{}' }, 'file.missing'],
    ['a missing shard', { [FIRST]: shards[FIRST]!, ...index({ a: FIRST, b: SECOND }) }, 'file.missing'],
    ['a missing shard without an index', { [FIRST]: shards[FIRST]! }, 'file.missing'],
    ['a tensor that no shard has', { ...shards, ...index({ a: FIRST, z: SECOND }) }, 'model.tensors'],
    ['a tensor in two shards', { [FIRST]: shards[FIRST]!, [SECOND]: shards[FIRST]! }, 'model.header'],
    ['an index that climbs', { ...shards, ...index({ a: '../model.safetensors' }) }, 'model.header'],
    ['an index of numbers', { ...shards, ...index({ a: 1 }) }, 'model.header'],
    ['an index that is not JSON', { ...shards, 'model.safetensors.index.json': '{' }, 'model.header'],
    ['an index without a map', { ...shards, 'model.safetensors.index.json': 'null' }, 'model.header'],
    ['pickle', { 'pytorch_model.bin': 'PK', 'config.json': '{}' }, 'model.pickle'],
    ['a checkpoint', { 'model.ckpt': 'PK' }, 'model.pickle'],
    ['GGUF', { 'model-q4.gguf': 'GGUF' }, 'model.unsupported'],
    ['two unnamed files', { 'a.safetensors': shards[FIRST]!, 'b.safetensors': shards[SECOND]! }, 'file.missing'],
  ])('refuses %s', async (_, files, code) => {
    await expect(openWeights(memoryFolder(files))).rejects.toMatchObject({ code, fix: expect.stringMatching(/./) })
  })

  it('refuses a real pickle file and says what to do', async () => {
    const path = dataFolder('models/unsupported-bloom-pickle')
    if (!path) return
    await expect(openWeights(diskFolder(path))).rejects.toMatchObject({
      code: 'model.pickle',
      where: 'pytorch_model.bin',
      fix: expect.stringContaining('save_pretrained'),
    })
  })
})
