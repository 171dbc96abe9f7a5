/** Adapters that act together: the one that stands for them changes each layer by exactly the weighted sum of their changes. */
import { describe, expect, it } from 'vitest'
import { stackAdapters } from '../../../../src/engine/adapters/stack'
import { peftConfig } from '../../../../src/engine/adapters/settings'
import { asLora, loraDeltas, type LoraPeft } from '../../../../src/engine/formats/peft'
import { toFloat32 } from '../../../../src/engine/formats/safetensors'
import { uniform } from '../../../../src/engine/random'
import type { TensorData } from '../../../../src/shared/records'

const SIZES: Record<string, [out: number, inn: number]> = {
  'model.layers.0.self_attn.q_proj': [6, 5],
  'model.layers.0.mlp.down_proj': [5, 7],
}

function adapter(seed: number, rank: number, alpha: number, change: Partial<LoraPeft['config']> = {}): LoraPeft {
  const next = uniform(seed)
  const modules = Object.entries(SIZES).filter(([name]) => seed > 1 || name.endsWith('q_proj'))
  const targets = modules.map(([name]) => name.split('.').at(-1) as string)
  const matrix = (rows: number, columns: number): TensorData => {
    const values = Float32Array.from({ length: rows * columns }, () => next() - 0.5)
    return { dtype: 'F32', shape: [rows, columns], bytes: new Uint8Array(values.buffer) }
  }
  return {
    config: { ...peftConfig({ rank, alpha, dropout: 0.1, targets }, 'base'), ...change },
    tensors: Object.fromEntries(
      modules.flatMap(([name, [out, inn]]) => [
        [`base_model.model.${name}.lora_A.weight`, matrix(rank, inn)],
        [`base_model.model.${name}.lora_B.weight`, matrix(out, rank)],
      ]),
    ),
  }
}

/** scale · B · A, by module. */
function changes(peft: LoraPeft): Record<string, number[]> {
  return Object.fromEntries(
    loraDeltas(peft).map(({ module, rank, scale, a, b }) => {
      const [left, right] = [toFloat32(b), toFloat32(a)]
      const [out, inn] = [b.shape[0] as number, a.shape[1] as number]
      const product = Array.from({ length: out * inn }, (_, at) => {
        let sum = 0
        for (let i = 0; i < rank; i++)
          sum += (left[Math.floor(at / inn) * rank + i] as number) * (right[i * inn + (at % inn)] as number)
        return scale * sum
      })
      return [module, product]
    }),
  )
}

describe('stacked adapters', () => {
  it('change each layer by the weighted sum of their changes', () => {
    const first = adapter(1, 2, 8)
    const second = adapter(2, 3, 4, { use_rslora: true })
    const both = changes(
      asLora(
        stackAdapters([
          { adapter: first, weight: 0.75 },
          { adapter: second, weight: -0.5 },
        ]),
      ),
    )
    const [one, two] = [changes(first), changes(second)]
    expect(Object.keys(both).sort()).toEqual(Object.keys(SIZES).sort())
    for (const [module, values] of Object.entries(both)) {
      for (const [at, value] of values.entries()) {
        const wanted = 0.75 * (one[module]?.[at] ?? 0) - 0.5 * (two[module]?.[at] ?? 0)
        expect(Math.abs(value - wanted)).toBeLessThan(1e-6)
      }
    }
  })

  it('are refused where they do not add up', () => {
    const dora = adapter(1, 2, 8, { use_dora: true })
    expect(() =>
      stackAdapters([
        { adapter: dora, weight: 1 },
        { adapter: adapter(2, 2, 2), weight: 1 },
      ]),
    ).toThrow(expect.objectContaining({ code: 'adapter.unsupported' }))
    const other = adapter(1, 2, 8)
    const [key] = Object.keys(other.tensors)
    const wide = { dtype: 'F32' as const, shape: [2, 9], bytes: new Uint8Array(72) }
    expect(() =>
      stackAdapters([
        { adapter: adapter(1, 2, 8), weight: 1 },
        { adapter: { ...other, tensors: { ...other.tensors, [key as string]: wide } }, weight: 1 },
      ]),
    ).toThrow(expect.objectContaining({ code: 'adapter.mismatch', where: 'model.layers.0.self_attn.q_proj' }))
  })
})
