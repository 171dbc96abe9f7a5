/** The starting list's figures against each other: parameters from the shape, bytes from the parameters. */
import { describe, expect, it } from 'vitest'
import { HUB_MODELS } from '../../../src/shared/hub-models'

/** Families whose MLP has no gate, and so two matrices. */
const UNGATED = /gpt2|pythia/

describe.each(HUB_MODELS.map((model) => [model.name, model] as const))('%s', (name, { shape, parameters, bytes }) => {
  it('has the parameters that its shape gives', () => {
    const [q, kv] = [shape.heads * shape.headDim, shape.kvHeads * shape.headDim]
    const attention = shape.hiddenSize * (2 * q + 2 * kv)
    const mlp = (UNGATED.test(name) ? 2 : 3) * shape.hiddenSize * shape.intermediateSize
    const tables = shape.vocabulary * shape.hiddenSize * (shape.tiedHead ? 1 : 2)
    const total = shape.layers * (attention + mlp) + tables
    // Norms, biases and GPT-2's positions are the rest.
    expect(parameters).toBeGreaterThanOrEqual(total)
    expect(parameters / total).toBeLessThan(1.01)
  })

  it('weighs what its parameters take in 16 or 32 bits, and a little more', () => {
    // The file of Qwen3-0.6B holds its tied head a second time.
    const twice = name === 'Qwen/Qwen3-0.6B' ? shape.vocabulary * shape.hiddenSize : 0
    const width = name === 'openai-community/gpt2' ? 4 : 2
    const weights = width * (parameters + twice)
    expect(bytes).toBeGreaterThan(weights)
    expect(bytes - weights).toBeLessThan(60e6)
  })
})

it('goes from small to large', () => {
  const sizes = HUB_MODELS.map(({ parameters }) => parameters)
  expect(sizes).toEqual([...sizes].sort((a, b) => a - b))
})
