/** Merged folders and mlx-lm adapters: the arithmetic, the files around the weights, and what is refused. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readAdapter } from '../../../../src/engine/formats/adapter-folder'
import { openWeights } from '../../../../src/engine/formats/checkpoint-index'
import { setJsonField } from '../../../../src/engine/formats/json-edit'
import { mergeWeights } from '../../../../src/engine/formats/merge'
import { mergedFolder, type MergedOptions } from '../../../../src/engine/formats/merged'
import { mlxAdapter, readMlx } from '../../../../src/engine/formats/mlx'
import { collect, type OutFile } from '../../../../src/engine/formats/out-file'
import { asLora, loraDeltas, readPeft, writePeft, type LoraPeft } from '../../../../src/engine/formats/peft'
import { parseLoraConfig } from '../../../../src/engine/formats/peft-lora'
import { fromFloat32, toFloat32, writeSafetensors } from '../../../../src/engine/formats/safetensors'
import type { TensorData } from '../../../../src/shared/records'
import { dataFolder, diskFolder, memoryFolder } from '../../../support/folder'

const GOLDEN = resolve(import.meta.dirname, '../../../golden')
const matrix = (rows: number, columns: number, values: number[]) =>
  fromFloat32(new Float32Array(values), [rows, columns], 'F32')
const collected = async (files: readonly OutFile[]) =>
  memoryFolder(
    Object.fromEntries(await Promise.all(files.map(async (file) => [file.name, await collect(file)] as const))),
  )

/** rank 2, alpha 4: scale 2. */
function adapter(module: string, change: Record<string, unknown> = {}): LoraPeft {
  return {
    config: parseLoraConfig({ peft_type: 'LORA', r: 2, lora_alpha: 4, target_modules: ['q_proj'], ...change }),
    tensors: {
      [`base_model.model.${module}.lora_A.weight`]: matrix(2, 3, [1, 2, 3, 0, 1, 0]),
      [`base_model.model.${module}.lora_B.weight`]: matrix(2, 2, [1, 0, 0.5, 10]),
    },
  }
}
/** scale · B·A */
const DELTA = [2, 4, 6, 1, 22, 3]
const base = (tensors: Record<string, TensorData>) =>
  openWeights(memoryFolder({ 'model.safetensors': writeSafetensors(tensors) }))

describe('mergeWeights', () => {
  it('adds scale · B·A, and leaves everything else alone', async () => {
    const other = matrix(1, 2, [7, 8])
    const weights = mergeWeights(
      await base({ 'model.layers.0.q_proj.weight': matrix(2, 3, [1, 1, 1, 1, 1, 1]), other }),
      adapter('model.layers.0.q_proj'),
    )
    expect([...toFloat32(await weights.read('model.layers.0.q_proj.weight'))]).toEqual(DELTA.map((value) => value + 1))
    expect(await weights.read('other')).toEqual(other)
  })

  it('adds the transpose where weights are stored [in, out]', async () => {
    const weights = mergeWeights(
      await base({ 'h.0.attn.c_attn.weight': matrix(3, 2, [0, 0, 0, 0, 0, 0]) }),
      adapter('transformer.h.0.attn.c_attn', { fan_in_fan_out: true }),
    )
    expect([...toFloat32(await weights.read('h.0.attn.c_attn.weight'))]).toEqual([2, 1, 4, 22, 6, 3])
  })

  it('merges into half precision without losing the sum', async () => {
    const half = fromFloat32(new Float32Array(6).fill(1024), [2, 3], 'F16')
    const weights = mergeWeights(await base({ 'q.weight': half }), adapter('q'))
    expect(await weights.read('q.weight')).toMatchObject({ dtype: 'F32' })
    expect([...toFloat32(await weights.read('q.weight'))]).toEqual(DELTA.map((value) => value + 1024))
  })

  it('names every layer that has no place', async () => {
    const one = adapter('a')
    const two = { ...one, tensors: { ...one.tensors, ...adapter('b').tensors, ...adapter('c').tensors } }
    const weights = await base({ 'c.weight': matrix(3, 2, [0, 0, 0, 0, 0, 0]) })
    expect(() => mergeWeights(weights, two)).toThrow(
      expect.objectContaining({
        code: 'adapter.mismatch',
        what: expect.stringMatching(/a is not.*b is not.*c is 2 × 3 and should be 3 × 2/),
      }),
    )
  })
})

describe('mergedFolder', () => {
  const load = async (name: string) => ({
    source: diskFolder(resolve(GOLDEN, name)),
    peft: asLora(await readPeft(diskFolder(resolve(GOLDEN, name, 'adapter_init')))),
  })
  const text = async (source: Awaited<ReturnType<typeof collected>>, name: string) =>
    new TextDecoder().decode(await source.read(name))

  it('writes the merged weights once, whole or in shards', async () => {
    const { source, peft } = await load('llama-untied-llama3-rope')
    const wanted = mergeWeights(await openWeights(source), peft)
    for (const options of [{ dtype: 'F32' }, { dtype: 'F32', shardSize: 30_000 }] as MergedOptions[]) {
      const files = await mergedFolder(source, peft, options)
      const shards = files.filter((file) => file.name.endsWith('.safetensors'))
      expect(shards.length > 1).toBe(options.shardSize !== undefined)
      if (options.shardSize) expect(Math.max(...shards.map((file) => file.size))).toBeLessThan(40_000)
      const written = await openWeights(await collected(files))
      expect([...written.names].sort()).toEqual([...wanted.names].sort())
      for (const name of wanted.names) {
        const same = Buffer.from((await written.read(name)).bytes).equals((await wanted.read(name)).bytes)
        expect(same, name).toBe(true)
      }
    }
  })

  it('changes only what it must in the files around the weights', async () => {
    const { source, peft } = await load('gemma2')
    const options: MergedOptions = { dtype: 'BF16', chatTemplate: '{{ "ü" }}', eosIds: [2] }
    const out = await collected(await mergedFolder(source, peft, options))
    const config = readFileSync(resolve(GOLDEN, 'gemma2/config.json'), 'utf8')
    expect(await text(out, 'config.json')).toBe(config.replace('"float32"', '"bfloat16"'))
    expect(JSON.parse(await text(out, 'tokenizer_config.json'))).toMatchObject({
      tokenizer_class: 'PreTrainedTokenizerFast',
      chat_template: '{{ "ü" }}',
    })
    expect(await text(out, 'chat_template.jinja')).toBe('{{ "ü" }}')
    expect(JSON.parse(await text(out, 'generation_config.json'))).toHaveProperty('eos_token_id')
    expect(await out.read('tokenizer.json')).toEqual(await source.read('tokenizer.json'))
    expect((await openWeights(out)).info('model.norm.weight').dtype).toBe('BF16')
  })

  it('keeps the types of the base where asked', async () => {
    const files = {
      'config.json': '{"torch_dtype": "float16", "n": 1.0}',
      'model.safetensors': writeSafetensors({
        'q.weight': fromFloat32(new Float32Array(6), [2, 3], 'F16'),
        ids: { dtype: 'I64', shape: [1], bytes: new Uint8Array(8) },
      }),
    }
    const out = await collected(await mergedFolder(memoryFolder(files), adapter('q'), { dtype: 'same' }))
    expect(await text(out, 'config.json')).toBe(files['config.json'])
    const weights = await openWeights(out)
    expect([weights.info('q.weight').dtype, weights.info('ids').dtype]).toEqual(['F16', 'I64'])
    expect([...toFloat32(await weights.read('q.weight'))]).toEqual(DELTA)
  })

  it('names a tied head as the embedding, once', async () => {
    const path = dataFolder('models/tinystories-656K')
    if (!path) return
    const q = 'model.layers.0.self_attn.q_proj'
    const zero: LoraPeft = {
      config: parseLoraConfig({ peft_type: 'LORA', r: 1 }),
      tensors: {
        [`base_model.model.${q}.lora_A.weight`]: matrix(1, 128, new Array<number>(128).fill(1)),
        [`base_model.model.${q}.lora_B.weight`]: matrix(128, 1, new Array<number>(128).fill(0)),
      },
    }
    const out = await openWeights(await collected(await mergedFolder(diskFolder(path), zero, { dtype: 'F32' })))
    expect(out.names).toContain('model.embed_tokens.weight')
    expect(out.names).not.toContain('lm_head.weight')
  })
})

describe('setJsonField', () => {
  it.each([
    ['{"a": 1.0, "b": {"a": 2}}', 'a', 'x', '{"a": "x", "b": {"a": 2}}'],
    ['{"b": {"a": 2}, "a" : [1, {"c": "}"}] }', 'a', 3, '{"b": {"a": 2}, "a" : 3 }'],
    ['{"b": {"a": 2.0}}\n', 'a', true, '{"b": {"a": 2.0},\n  "a": true\n}\n'],
    ['{}', 'a', 'x', '{\n  "a": "x"\n}'],
    ['{"s": "\\"a\\": 5, {", "a": 5}', 'a', 6, '{"s": "\\"a\\": 5, {", "a": 6}'],
    ['{"a": 1, "a": 2}', 'a', 3, '{"a": 1, "a": 3}'],
  ])('%s, %s', (json, key, value, wanted) => {
    expect(setJsonField(json, key, value)).toBe(wanted)
    expect((JSON.parse(wanted) as Record<string, unknown>)[key]).toEqual(value)
  })
})

describe('mlx-lm', () => {
  const product = (peft: LoraPeft) =>
    loraDeltas(peft).map(({ module, scale, rank, a, b }) => {
      const [x, y] = [toFloat32(a), toFloat32(b)]
      const inn = a.shape[1]!
      const out = Array.from({ length: y.length / rank }, (_, o) =>
        Array.from({ length: inn }, (_, i) => {
          let sum = 0
          for (let r = 0; r < rank; r++) sum += y[o * rank + r]! * x[r * inn + i]!
          return scale * sum
        }),
      )
      return [module, out] as const
    })

  it('comes back as the same change, whatever the ranks and scales', async () => {
    const q = adapter('model.layers.0.self_attn.q_proj')
    const mixed: LoraPeft = {
      config: { ...q.config, rank_pattern: { v_proj: 1 }, alpha_pattern: { v_proj: 3 } },
      tensors: {
        ...q.tensors,
        'base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight': matrix(1, 3, [1, 0, 2]),
        'base_model.model.model.layers.1.self_attn.v_proj.lora_B.weight': matrix(2, 1, [1, -1]),
      },
    }
    const files = mlxAdapter(mixed, 2)
    expect(files.map((file) => file.name)).toEqual(['adapter_config.json', 'adapters.safetensors'])
    const back = await readAdapter(await collected(files))
    expect(Object.fromEntries(product(asLora(back)))).toEqual(Object.fromEntries(product(mixed)))
  })

  it('says which layers it sits on, for mlx-lm adapts the last ones only', async () => {
    const back = asLora(await readAdapter(await collected(mlxAdapter(adapter('model.layers.3.q_proj'), 4))))
    expect(back.config.layers_to_transform).toEqual([3])
  })

  it('is told from PEFT, also inside another folder', async () => {
    const peft = adapter('model.layers.0.q_proj')
    const nested = Object.fromEntries(writePeft(peft).map(({ name, bytes }) => [`runs/best/${name}`, bytes]))
    expect((await readAdapter(memoryFolder(nested))).tensors).toEqual(peft.tensors)
  })

  it('refuses what is not LoRA, and layers that it does not know', async () => {
    const written = await collected(mlxAdapter(adapter('model.layers.0.q_proj'), 1))
    const weights = await written.read('adapters.safetensors')
    const read = (config: unknown, tensors: Uint8Array = weights) =>
      readMlx(memoryFolder({ 'adapter_config.json': JSON.stringify(config), 'adapters.safetensors': tensors }))
    const parameters = { lora_parameters: { rank: 2, scale: 2 } }
    await expect(read({ ...parameters, fine_tune_type: 'dora' })).rejects.toMatchObject({ code: 'adapter.unsupported' })
    await expect(read({})).rejects.toMatchObject({ code: 'adapter.mismatch' })
    await expect(read([])).rejects.toMatchObject({ code: 'adapter.mismatch' })
    await expect(read({ lora_parameters: { rank: 3, scale: 2 } })).rejects.toMatchObject({ code: 'adapter.mismatch' })
    await expect(read(parameters, writeSafetensors({ 'x.weight': matrix(1, 1, [1]) }))).rejects.toMatchObject({
      code: 'adapter.mismatch',
    })
    await expect(read(parameters)).resolves.toMatchObject({ config: { r: 2, lora_alpha: 4 } })
    expect(() => mlxAdapter(adapter('transformer.h.0.attn.c_attn'), 1)).toThrow(
      expect.objectContaining({ code: 'adapter.unsupported' }),
    )
  })
})
