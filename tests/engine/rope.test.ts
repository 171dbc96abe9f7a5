/** Rotary tables of every type against transformers. */
import { describe, expect, it } from 'vitest'
import { ConfigReader, readRope } from '../../src/engine/models/config'
import { ropeFrequencies, RopeTables } from '../../src/engine/nn/rope'
import recorded from '../golden/rope.json'

describe('rope frequencies', () => {
  it.each(Object.entries(recorded))('%s equals transformers', (_, wanted) => {
    const reader = new ConfigReader({ rope_parameters: wanted.rope_parameters })
    const config = readRope(reader, { maxPositions: wanted.max_position_embeddings }, wanted.head_dim)
    reader.finish()
    for (const table of wanted.tables) {
      const { inverse, attentionFactor } = ropeFrequencies(config, table.length ?? 1)
      expect(attentionFactor).toBeCloseTo(table.attention_factor, 6)
      table.inv_freq.forEach((value, i) => expect(inverse[i]! / value - 1).toBeCloseTo(0, 5))
    }
  })

  it('reads the spelling of transformers 4 alike', () => {
    const { rope_theta, ...scaling } = recorded.llama3.rope_parameters
    const reader = new ConfigReader({ rope_theta, rope_scaling: scaling })
    const old = readRope(reader, { maxPositions: 64 }, 16)
    const fresh = readRope(new ConfigReader({ rope_parameters: recorded.llama3.rope_parameters }), { maxPositions: 64 }, 16) // prettier-ignore
    expect(old).toEqual(fresh)
  })

  it('refuses a type that it does not know', () => {
    const reader = new ConfigReader({ rope_parameters: { rope_type: 'spiral', rope_theta: 1 } })
    readRope(reader, { maxPositions: 64 }, 16)
    expect(() => reader.finish()).toThrow(/rope_type is "spiral"; supported: default, linear/)
  })
})

describe('rope tables', () => {
  it('give the same rows from wherever they start, and grow', async () => {
    const config = readRope(new ConfigReader({ rope_theta: 10000 }), { maxPositions: 64 }, 8)
    const tables = new RopeTables(config)
    const first = await tables.at(0, 4).cos.data()
    const later = await tables.at(3, 1).cos.data()
    expect([...later]).toEqual([...first.slice(12, 16)])
    const far = await tables.at(200, 1).sin.data()
    expect(far[0]).toBeCloseTo(Math.sin(200), 5)
    tables.dispose()
  })
})
