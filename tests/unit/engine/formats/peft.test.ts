/** PEFT adapters: what Python wrote, what we write, and what is refused. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
import { describe, expect, it } from 'vitest'
import { asLora, loraDeltas, readPeft, savedTensors, writePeft } from '../../../../src/engine/formats/peft'
import { parseLoraConfig, patternValue } from '../../../../src/engine/formats/peft-lora'
import { fromFloat32, writeSafetensors } from '../../../../src/engine/formats/safetensors'
import { CodedError } from '../../../../src/shared/errors'
import type { TensorData } from '../../../../src/shared/records'
import { diskFolder, memoryFolder } from '../../../support/folder'

const GOLDEN = resolve(import.meta.dirname, '../../../golden')
const folder = (name: string) => diskFolder(resolve(GOLDEN, name, 'adapter_init'))
const config = JSON.parse(
  readFileSync(resolve(GOLDEN, 'llama-gqa-tied/adapter_init/adapter_config.json'), 'utf8'),
) as Record<string, unknown>

const matrix = (rows: number, columns: number): TensorData =>
  fromFloat32(new Float32Array(rows * columns), [rows, columns], 'F32')
const key = (module: string, side: 'A' | 'B') => `base_model.model.${module}.lora_${side}.weight`
const Q = 'model.layers.0.self_attn.q_proj'

/** An adapter folder with changed settings and these tensors. */
function adapter(change: Record<string, unknown>, tensors: Record<string, TensorData> = pair(Q, 4)) {
  return memoryFolder({
    'adapter_config.json': JSON.stringify({ ...config, ...change }),
    'adapter_model.safetensors': writeSafetensors(tensors),
  })
}
const pair = (module: string, rank: number) => ({
  [key(module, 'A')]: matrix(rank, 8),
  [key(module, 'B')]: matrix(6, rank),
})

describe('adapters that PEFT wrote', () => {
  for (const name of ['llama-gqa-tied', 'gpt2', 'gpt-neox', 'phi3', 'gemma2']) {
    it(`reads ${name}, and what we write reads back the same`, async () => {
      const read = asLora(await readPeft(folder(name)))
      expect(read.config).toMatchObject({ peft_type: 'LORA', r: 4, lora_alpha: 8, bias: 'none' })
      expect(read.config.fan_in_fan_out).toBe(name === 'gpt2')
      const deltas = loraDeltas(read)
      expect(deltas.length * 2).toBe(Object.keys(read.tensors).length)
      expect(deltas.every((delta) => delta.rank === 4 && delta.scale === 2)).toBe(true)
      const files = Object.fromEntries(writePeft(read).map(({ name, bytes }) => [name, bytes]))
      expect(await readPeft(memoryFolder(files))).toEqual(read)
    })
  }

  it('writes weights byte for byte as PEFT does', async () => {
    const source = folder('llama-gqa-tied')
    const [, weights] = writePeft(await readPeft(source))
    expect(Buffer.from(weights!.bytes).equals(await source.read('adapter_model.safetensors'))).toBe(true)
  })
})

describe('settings', () => {
  it('takes PEFT’s defaults for what is left out', () => {
    expect(parseLoraConfig({ peft_type: 'LORA' })).toMatchObject({
      r: 8,
      lora_alpha: 8,
      lora_dropout: 0,
      target_modules: null,
      init_lora_weights: true,
      rank_pattern: {},
    })
  })

  it('finds ranks and alphas by the end of a name or by a pattern, as PEFT does', () => {
    const patterns = {
      'layers.1.mlp.up_proj': 2,
      q_proj: 3,
      '^model.layers.0.*k_proj': 5,
      '.*v_proj': 6,
      '(a+)+$': 7,
      '(': 8,
    }
    const rank = (module: string) => patternValue(patterns, module, 1)
    expect(rank('model.layers.1.mlp.up_proj')).toBe(2)
    expect(rank('model.layers.11.mlp.up_proj')).toBe(1)
    expect(rank('model.layers.0.self_attn.q_proj')).toBe(3)
    expect(rank('model.layers.0.self_attn.qq_proj')).toBe(1)
    expect(rank('model.layers.0.self_attn.k_proj')).toBe(5)
    expect(rank('model.layers.1.self_attn.k_proj')).toBe(1)
    expect(rank('x.v_proj')).toBe(6)
    expect(rank(`${'a'.repeat(40)}!`)).toBe(1)
  })

  it('reads patterns and rsLoRA into ranks, alphas and scales', async () => {
    const tensors = { ...pair(Q, 4), ...pair('model.layers.0.mlp.up_proj', 9) }
    const change = { rank_pattern: { up_proj: 9 }, alpha_pattern: { 'mlp.up_proj': 6 }, use_rslora: true }
    const deltas = loraDeltas(await readPeft(adapter(change, tensors)))
    expect(deltas.sort((a, b) => a.rank - b.rank).map(({ rank, alpha, scale }) => [rank, alpha, scale])).toEqual([
      [4, 8, 4],
      [9, 6, 2],
    ])
  })
})

describe('adapters that are refused', () => {
  it.each<[string, Record<string, unknown>]>([
    ['another method', { peft_type: 'ADALORA' }],
    ['trained biases', { bias: 'lora_only' }],
    ['trained tokens', { trainable_token_indices: [1, 2] }],
    ['layer replication', { layer_replication: [[0, 2]] }],
    ['LoRA with biases', { lora_bias: true }],
    ['activated LoRA', { alora_invocation_tokens: [1] }],
  ])('as unsupported: %s', async (_, change) => {
    await expect(readPeft(adapter(change))).rejects.toMatchObject({
      code: 'adapter.unsupported',
      fix: expect.stringMatching(/merge/i),
    })
  })

  it.each<[string, Record<string, unknown>]>([
    ['no method', { peft_type: undefined }],
    ['a rank of 0', { r: 0 }],
    ['a rank in words', { r: '4' }],
    ['half a rank', { r: 4.5 }],
    ['an absurd rank', { r: 1e9 }],
    ['alpha that is no number', { lora_alpha: null, alpha: 'x' }],
    ['alpha in words', { lora_alpha: '8' }],
    ['a dropout of 2', { lora_dropout: 2 }],
    ['targets that are numbers', { target_modules: [1] }],
    ['ranks in words', { rank_pattern: { q_proj: 'four' } }],
    ['layers in words', { layers_to_transform: ['first'] }],
    ['no layer at all', { layers_to_transform: [] }],
    ['a rank that the tensors do not have', { r: 5 }],
  ])('as not holding together: %s', async (name, change) => {
    const read = readPeft(adapter(change))
    if (name === 'alpha that is no number') await expect(read).resolves.toMatchObject({ config: { lora_alpha: 8 } })
    else await expect(read).rejects.toMatchObject({ code: 'adapter.mismatch' })
  })

  it('names every bad tensor at once', async () => {
    const tensors: Record<string, TensorData> = {
      ...pair(Q, 3),
      [key('model.layers.1.self_attn.q_proj', 'A')]: matrix(4, 8),
      'base_model.model.lm_head.scales': matrix(2, 2),
      [key('x', 'A')]: { dtype: 'I32', shape: [1], bytes: new Uint8Array(4) },
    }
    const error = await readPeft(adapter({}, tensors)).catch((one: unknown) => one)
    expect(error).toMatchObject({ code: 'adapter.mismatch', where: 'adapter_model.safetensors' })
    const { what } = error as { what: string }
    for (const part of [
      'q_proj has rank 3',
      'model.layers.1.self_attn.q_proj has only lora_A',
      'lm_head',
      'is I32',
      'not a matrix',
    ])
      expect(what).toContain(part)
  })

  it('reads weights that are replaced whole, and refuses one that is named and not there', async () => {
    const head = { 'base_model.model.lm_head.weight': matrix(2, 2) }
    const read = await readPeft(adapter({ modules_to_save: ['lm_head'] }, { ...pair(Q, 4), ...head }))
    expect(asLora(read).config.modules_to_save).toEqual(['lm_head'])
    expect(Object.keys(savedTensors(read))).toEqual(['lm_head.weight'])
    expect(loraDeltas(read).map(({ module }) => module)).toEqual([Q])
    const missing = adapter({ modules_to_save: ['lm_head', 'embed_tokens'] }, { ...pair(Q, 4), ...head })
    await expect(readPeft(missing)).rejects.toThrow('modules_to_save names embed_tokens, which is not there')
    await expect(readPeft(adapter({ modules_to_save: [1] }))).rejects.toMatchObject({ code: 'adapter.mismatch' })
  })

  it('refuses DoRA vectors that the settings do not name, pickle, missing and broken files', async () => {
    const dora = adapter({}, { ...pair(Q, 4), 'base_model.model.x.lora_magnitude_vector': matrix(1, 1) })
    await expect(readPeft(dora)).rejects.toMatchObject({ code: 'adapter.mismatch' })
    const only = (files: Record<string, string>) => readPeft(memoryFolder(files))
    const settings = { 'adapter_config.json': JSON.stringify(config) }
    await expect(only({})).rejects.toMatchObject({ code: 'file.missing', where: 'adapter_config.json' })
    await expect(only(settings)).rejects.toMatchObject({ code: 'file.missing', where: 'adapter_model.safetensors' })
    await expect(only({ ...settings, 'adapter_model.bin': 'PK' })).rejects.toMatchObject({ code: 'model.pickle' })
    await expect(only({ 'adapter_config.json': '{' })).rejects.toMatchObject({ code: 'adapter.mismatch' })
    await expect(only({ 'adapter_config.json': '[]' })).rejects.toMatchObject({ code: 'adapter.mismatch' })
    await expect(only({ ...settings, 'adapter_model.safetensors': '' })).rejects.toMatchObject({
      code: 'model.truncated',
    })
  })

  it('refuses to write half an adapter', async () => {
    const whole = await readPeft(folder('llama-gqa-tied'))
    const [gone] = Object.keys(whole.tensors)
    const { [gone!]: _, ...tensors } = whole.tensors
    expect(() => writePeft({ ...whole, tensors })).toThrow(expect.objectContaining({ code: 'adapter.mismatch' }))
    expect(() => writePeft({ ...whole, tensors: {} })).toThrow(expect.objectContaining({ code: 'adapter.mismatch' }))
  })

  it(
    'never crashes on 600 mutations of settings and weights, and what it takes holds together',
    { timeout: 60_000 },
    async () => {
      const random = xoroshiro128plus(5)
      const pick = (below: number) => uniformInt(random, 0, below - 1)
      const source = folder('llama-gqa-tied')
      const files = await Promise.all(
        ['adapter_config.json', 'adapter_model.safetensors'].map(
          async (name) => [name, await source.read(name)] as const,
        ),
      )
      let refused = 0
      for (let i = 0; i < 600; i++) {
        const changed = Object.fromEntries(files.map(([name, bytes]) => [name, bytes.slice()]))
        const victim = changed[files[pick(2)]![0]]!
        for (let n = pick(4); n >= 0; n--) {
          victim[pick(Math.min(victim.length, 3000))] = [34, 44, 48 + pick(10), 45, 91, 123, 110, pick(256)][pick(8)]!
        }
        try {
          const read = await readPeft(memoryFolder(changed))
          for (const { rank, a, b, scale } of loraDeltas(read)) {
            expect([a.shape[0], b.shape[1]]).toEqual([rank, rank])
            expect(Number.isFinite(scale)).toBe(true)
          }
        } catch (error) {
          expect(error).toBeInstanceOf(CodedError)
          refused++
        }
      }
      expect(refused).toBeGreaterThan(200)
    },
  )
})
