/** The forecast's shape: what grows with what, and remedies that really fit. */
import { describe, expect, it } from 'vitest'
import { checkFits, forecast } from '../../../src/engine/memory'
import { adapterParameters, tapeBytes } from '../../../src/engine/memory-parts'
import type { CodedError } from '../../../src/shared/errors'
import { defaultJob } from '../../../src/shared/job'
import type { DeviceReport, ModelShape } from '../../../src/shared/records'

const SHAPE: ModelShape = {
  hiddenSize: 576,
  intermediateSize: 1536,
  layers: 30,
  heads: 9,
  kvHeads: 3,
  headDim: 64,
  vocabulary: 49152,
  tiedHead: true,
}
const MODEL = { shape: SHAPE, dtype: 'F32', parameters: 134_515_008 }
const device = (budget: number): DeviceReport => ({
  backend: 'webgpu',
  adapter: 'a GPU',
  software: false,
  features: [],
  budget,
  tone: 'good',
  note: '',
  selfTest: 0,
})
const job = { ...defaultJob(), batchSize: 8, maxLength: 512 }

describe('forecast', () => {
  it('counts the adapter exactly', () => {
    const perLayer = 16 * (576 + 576 + 2 * (576 + 192) + 576 + 576 + 3 * (576 + 1536))
    expect(adapterParameters(SHAPE, job)).toBe(30 * perLayer)
    expect(adapterParameters(SHAPE, { ...job, targets: ['q_proj'] })).toBe(30 * 16 * 1152)
  })

  it('counts what other methods train exactly', () => {
    const of = (change: object): number => adapterParameters(SHAPE, { ...job, ...change })
    expect(of({ method: 'ia3' })).toBe(30 * (2 * 192 + 1536))
    expect(of({ method: 'bottleneck', bottleneckSize: 8 })).toBe(30 * 2 * (8 * 576 + 8 + 576 * 8 + 576))
    expect(of({ method: 'bottleneck', bottleneckSize: 8, bottleneckPlaces: 'mlp' })).toBe(30 * (2 * 8 * 576 + 8 + 576))
    expect(of({ method: 'prompt', virtualTokens: 20 })).toBe(20 * 576)
    expect(of({ method: 'prefix', virtualTokens: 20 })).toBe(20 * 30 * 2 * 192)
  })

  it('counts virtual tokens as positions', () => {
    const at = (change: object, length: number): number =>
      forecast(MODEL, { ...job, ...change } as typeof job, length, device(1)).activations
    const prompt = { method: 'prompt', virtualTokens: 20 } as const
    expect(at(prompt, 108)).toBeGreaterThan(at({ ...prompt, virtualTokens: 1 }, 108))
    expect(at({ ...prompt, virtualTokens: 1 }, 127)).toBe(at(prompt, 108))
  })

  it('knows the weights of SmolLM2-135M to 1%', () => {
    const { weights } = forecast(MODEL, job, 512, device(2 ** 40))
    expect(Math.abs(weights / (4 * 134.5e6) - 1)).toBeLessThan(0.01)
  })

  it('adds up, and grows with batch and length but not beyond the maximum length', () => {
    const now = forecast(MODEL, job, 512, device(2 ** 40))
    expect(now.total).toBe(now.weights + now.adapter + now.optimiser + now.activations)
    expect(now.fits).toBe(true)
    expect(now.remedies).toEqual([])
    expect(forecast(MODEL, { ...job, batchSize: 16 }, 512, device(2 ** 40)).activations).toBeGreaterThan(
      now.activations,
    )
    expect(forecast(MODEL, job, 4096, device(2 ** 40)).total).toBe(now.total)
    expect(forecast(MODEL, job, 128, device(1)).total).toBeLessThan(now.total)
  })

  it('counts the sums of sliced products on a graphics card alone: a few megabytes', () => {
    const of = (software: boolean): number => forecast(MODEL, job, 512, { ...device(1), software }).activations
    expect(of(false) - of(true)).toBeGreaterThan(2 ** 18)
    expect(of(false) - of(true)).toBeLessThan(2 ** 24)
  })

  it('counts what is kept where there is room for it, and only then', () => {
    const tight = forecast(MODEL, job, 512, device(1))
    const roomy = forecast(MODEL, job, 512, device(2 ** 40))
    expect(roomy.total).toBeGreaterThan(tight.total)
    const kept = tapeBytes({ model: MODEL, job, length: 512, backend: device(1).backend })
    // A quarter of what is free may be filled.
    expect(forecast(MODEL, job, 512, device(tight.total + 3.9 * kept)).total).toBe(tight.total)
    expect(forecast(MODEL, job, 512, device(tight.total + 4.1 * kept)).total).toBe(roomy.total)
    expect(forecast(MODEL, { ...job, objective: 'dpo' }, 512, device(2 ** 40)).total).toBe(
      forecast(MODEL, { ...job, objective: 'dpo' }, 512, device(1)).total,
    )
  })

  it('refuses what does not fit, with changes that would make it fit', () => {
    const whole = forecast(MODEL, job, 512, device(1)).total
    expect(checkFits(MODEL, job, 512, device(whole)).fits).toBe(true)
    const refused = (budget: number): CodedError => {
      try {
        checkFits(MODEL, job, 512, device(budget))
      } catch (error) {
        return error as CodedError
      }
      throw new Error('it was not refused')
    }
    expect(refused(whole * 0.9).code).toBe('memory.budget')
    expect(refused(whole * 0.9).fix).toMatch(/Batches of 4.*nf4|Batches of 4.*int8/)
    expect(refused(300e6).fix).toMatch(/Batches of 1, accumulated, and base weights in 4 bits/)
    expect(refused(1).fix).toBe('Choose a smaller model.')
  })

  it('holds SmolLM2-135M in 4 bits, rank 16, one row of 512, in 300 MB', () => {
    const small = { ...job, batchSize: 1, quantization: 'nf4' as const }
    const { total, weights } = forecast({ ...MODEL, dtype: 'BF16' }, small, 512, device(300e6))
    expect(weights).toBeLessThan(90e6)
    expect(total).toBeLessThan(300e6)
  })

  it('names only changes that fit', () => {
    const whole = forecast(MODEL, job, 512, device(1))
    for (const share of [0.9, 0.8, 0.75]) {
      const { fits, remedies } = forecast(MODEL, job, 512, device(whole.total * share))
      expect(fits).toBe(false)
      expect(remedies.length).toBeGreaterThan(0)
      for (const { change } of remedies)
        expect(forecast(MODEL, { ...job, ...change }, 512, device(whole.total * share)).fits).toBe(true)
    }
    expect(forecast(MODEL, job, 512, device(1)).remedies).toEqual([])
  })
})
