/** Drawing a token: filters, ties, seeds. */
import { describe, expect, it } from 'vitest'
import { uniform } from '../../../src/engine/random'
import { sampleToken } from '../../../src/engine/sampling'

const PLAIN = { temperature: 1, topK: 0, topP: 1, repetitionPenalty: 1 }
const NONE = new Set<number>()
const scores = (...values: number[]): Float32Array => Float32Array.from(values)

function shares(count: number, settings: typeof PLAIN, values: number[]): number[] {
  const random = uniform(7)
  const seen = values.map(() => 0)
  for (let i = 0; i < count; i++) seen[sampleToken(scores(...values), NONE, settings, random)]!++
  return seen.map((n) => n / count)
}

describe('sampleToken', () => {
  it('takes the likeliest at temperature 0, the first of equals', () => {
    expect(sampleToken(scores(1, 3, 3, 2), NONE, { ...PLAIN, temperature: 0 }, () => 0.99)).toBe(1)
  })

  it('draws with the probabilities of softmax', () => {
    const got = shares(20_000, PLAIN, [0, Math.log(2), Math.log(5)])
    ;[1 / 8, 2 / 8, 5 / 8].forEach((wanted, i) => expect(Math.abs(got[i]! - wanted)).toBeLessThan(0.015))
  })

  it('sharpens with a low temperature', () => {
    const got = shares(20_000, { ...PLAIN, temperature: 0.5 }, [0, Math.log(3)])
    expect(Math.abs(got[1]! - 0.9)).toBeLessThan(0.01)
  })

  it('keeps the k likeliest', () => {
    expect(shares(2000, { ...PLAIN, topK: 2 }, [1, 1.1, 0.9, 1.2])[0]).toBe(0)
    expect(shares(2000, { ...PLAIN, topK: 2 }, [1, 1.1, 0.9, 1.2])[2]).toBe(0)
  })

  it('keeps the smallest set that reaches p, and always one', () => {
    const got = shares(4000, { ...PLAIN, topP: 0.7 }, [Math.log(0.5), Math.log(0.3), Math.log(0.2)])
    expect(got[2]).toBe(0)
    expect(Math.abs(got[0]! - 0.625)).toBeLessThan(0.03)
    expect(shares(100, { ...PLAIN, topP: 0 }, [0, 1])[1]).toBe(1)
  })

  it('pushes repeated tokens down whatever their sign', () => {
    const values = scores(4, -1, 3)
    sampleToken(values, new Set([0, 1]), { ...PLAIN, repetitionPenalty: 2 }, () => 0)
    expect([...values]).toEqual([2, -2, 3])
  })

  it('repeats with a seed', () => {
    const draw = (seed: number): number[] => {
      const random = uniform(seed)
      return Array.from({ length: 50 }, () => sampleToken(scores(0, 0, 0, 0, 0, 0), NONE, PLAIN, random))
    }
    expect(draw(3)).toEqual(draw(3))
    expect(draw(3)).not.toEqual(draw(4))
  })
})
