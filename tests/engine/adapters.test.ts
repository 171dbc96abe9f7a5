/** LoRA adapters: fresh, from PEFT, back to PEFT, and refused. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { evaluate, loadTrainable, type Model } from '../../src/engine'
import { createLora } from '../../src/engine/adapters/lora'
import type { LoraPeft } from '../../src/engine/formats/peft'
import type { CodedError } from '../../src/shared/errors'
import { LORA_TARGETS } from '../../src/shared/job'
import { encodedRows, goldenAdapter, goldenModel, readGolden } from '../support/golden'

let model: Model
let stored: LoraPeft
let rows: ReturnType<typeof encodedRows>

beforeAll(async () => {
  model = await goldenModel('llama-gqa-tied')
  stored = await goldenAdapter('llama-gqa-tied', 'adapter_init')
  rows = encodedRows(await readGolden('llama-gqa-tied'))
})
afterAll(() => model?.dispose())

const loss = async (adapter: Parameters<typeof evaluate>[1]): Promise<number> =>
  (await evaluate(model, adapter, rows)).loss

function refusal(change: (adapter: LoraPeft) => void): CodedError {
  const copy = structuredClone(stored)
  change(copy)
  try {
    loadTrainable(model, copy).dispose()
  } catch (error) {
    return error as CodedError
  }
  throw new Error('was not refused')
}

const KEY = 'base_model.model.model.layers.1.mlp.up_proj.lora_A.weight'

describe('a fresh adapter', () => {
  const settings = { rank: 4, alpha: 8, dropout: 0, targets: LORA_TARGETS }

  it('changes nothing, has Kaiming-uniform A and zero B', async () => {
    const adapter = createLora(model, settings, 1)
    expect(await loss(adapter)).toBe(await loss(null))
    const { tensors } = await adapter.toPeft('base')
    const a = new Float32Array(tensors[KEY]!.bytes.buffer)
    const bound = 1 / Math.sqrt(32)
    expect(Math.max(...a)).toBeLessThanOrEqual(bound)
    expect(Math.max(...a)).toBeGreaterThan(0.9 * bound)
    expect(Math.min(...a)).toBeLessThan(-0.9 * bound)
    const deviation = Math.sqrt(a.reduce((sum, value) => sum + value * value, 0) / a.length)
    expect(Math.abs(deviation / (bound / Math.sqrt(3)) - 1)).toBeLessThan(0.15)
    adapter.dispose()
  })

  it('follows from its seed', async () => {
    const bytes = async (seed: number): Promise<Uint8Array> => {
      const adapter = createLora(model, settings, seed)
      const { tensors } = await adapter.toPeft('base')
      adapter.dispose()
      return tensors[KEY]!.bytes
    }
    expect(await bytes(5)).toEqual(await bytes(5))
    expect(await bytes(5)).not.toEqual(await bytes(6))
  })

  it('sits on the last layers alone where only so many are wanted', async () => {
    const adapter = createLora(model, { ...settings, layers: 1 }, 1)
    expect(new Set(adapter.variables.map(({ place }) => place))).toEqual(new Set([1]))
    const peft = await adapter.toPeft('base')
    expect(peft.config.layers_to_transform).toEqual([1])
    adapter.dispose()
    const again = loadTrainable(model, peft)
    expect(again.variables).toHaveLength(14)
    again.dispose()
    const all = createLora(model, { ...settings, layers: 2 }, 1)
    expect((await all.toPeft('base')).config.layers_to_transform).toBeNull()
    all.dispose()
  })

  it('is refused where the model has none of the targets', () => {
    expect(() => createLora(model, { ...settings, targets: ['c_attn'] }, 1)).toThrow(/none of the layers c_attn/)
    expect(() => createLora(model, { ...settings, targets: ['q_proj', 'qproj'] }, 1)).toThrow(
      /none of the layers qproj/,
    )
    for (const by of ['ranks', 'alphas']) {
      expect(() => createLora(model, { ...settings, [by]: { qproj: 4 } }, 1)).toThrow(/ends in "qproj"/)
    }
  })
})

describe('a PEFT adapter', () => {
  it('comes back as it was', async () => {
    const adapter = loadTrainable(model, stored)
    const { tensors, config } = await adapter.toPeft(stored.config.base_model_name_or_path ?? '')
    expect(Object.keys(tensors).sort()).toEqual(Object.keys(stored.tensors).sort())
    for (const [key, tensor] of Object.entries(stored.tensors)) expect(tensors[key]!.bytes).toEqual(tensor.bytes)
    expect(config).toEqual(stored.config)
    adapter.dispose()
  })

  it('is the base model at strength 0 and something between at a half', async () => {
    const adapter = loadTrainable(model, stored)
    const [base, tuned] = [await loss(null), await loss(adapter)]
    adapter.setStrength(0)
    expect(await loss(adapter)).toBe(base)
    adapter.setStrength(0.5)
    const half = await loss(adapter)
    expect(half).not.toBe(base)
    expect(half).not.toBe(tuned)
    adapter.dispose()
  })

  it('scales by alpha/√r for rsLoRA and by alpha_pattern', async () => {
    const with_ = async (change: Partial<LoraPeft['config']>): Promise<number> => {
      const adapter = loadTrainable(model, { ...stored, config: { ...stored.config, ...change } })
      const value = await loss(adapter)
      adapter.dispose()
      return value
    }
    // r is 4: alpha/√4 with alpha 4 is alpha/4 with alpha 8.
    expect(await with_({ use_rslora: true, lora_alpha: 4 })).toBe(await with_({}))
    expect(await with_({ lora_alpha: 1, alpha_pattern: { '.*': 8 } })).toBe(await with_({}))
    expect(await with_({ alpha_pattern: { q_proj: 80 } })).not.toBe(await with_({}))
  })

  it('is refused with every bad tensor named', () => {
    const error = refusal(({ tensors }) => {
      tensors[KEY] = { ...tensors[KEY]!, shape: [4, 31] }
      delete tensors['base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight']
      tensors['base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight'] = tensors[KEY]!
    })
    expect(error.code).toBe('adapter.mismatch')
    expect(error.what).toContain(`${KEY} is [4, 31] and should be [4, 32]`)
    expect(error.what).toContain('layers.0.self_attn.q_proj.lora_B.weight is missing')
    expect(error.what).toContain('layers.7.self_attn.q_proj.lora_A.weight has no layer in this model')
  })

  it('is refused with layers missing, NaN, no tensors, or another rank than it says', () => {
    const missing = refusal(({ tensors }) => {
      for (const key of Object.keys(tensors)) if (key.includes('layers.1.')) delete tensors[key]
    })
    expect(missing.what).toContain('layers.1.self_attn.q_proj.lora_A.weight is missing')
    const nan = refusal(({ tensors }) => new DataView(tensors[KEY]!.bytes.buffer).setFloat32(0, Number.NaN, true))
    expect(nan.what).toContain(`${KEY} contains NaN or Inf`)
    expect(refusal((adapter) => (adapter.tensors = {})).code).toBe('adapter.mismatch')
    expect(refusal(({ config }) => (config.r = 3)).what).toContain('should be [3, 32]')
  })

  it('is refused where it does more than LoRA', () => {
    expect(refusal(({ config }) => (config.use_dora = true)).what).toContain('lora_magnitude_vector is missing')
    expect(refusal(({ config }) => (config.modules_to_save = ['lm_head'])).what).toContain(
      'lm_head, which is not there',
    )
  })
})
