/** Which weights are trained under each choice, by their names and places. */
import { describe, expect, it } from 'vitest'
import { trainingStarts, type Freezable, type FreezeSettings } from '../../../../src/engine/adapters/freeze'
import type { CodedError } from '../../../../src/shared/errors'

const weight = (name: string, place: Freezable['place'], isHead = false): Freezable => ({ name, place, isHead })
const WEIGHTS = [
  weight('model.embed_tokens.weight', 'embedding'),
  ...[0, 1, 10].flatMap((layer) => [
    weight(`model.layers.${layer}.self_attn.q_proj.weight`, layer),
    weight(`model.layers.${layer}.input_layernorm.weight`, layer),
  ]),
  weight('model.norm.weight', 'finish'),
  weight('lm_head.weight', 'head', true),
]

/** Names and epochs of what is trained in a model of eleven layers. */
function trained(settings: Partial<FreezeSettings>, weights = WEIGHTS): Record<string, number> {
  const starts = trainingStarts(weights, { trainedPart: 'all', trainedLayers: 1, trainedNames: '', ...settings }, 11)
  const named = weights.map(({ name }, i): [string, number] => [name.replace(/^model\.|\.weight$/g, ''), starts[i]!])
  return Object.fromEntries(named.filter(([, start]) => Number.isFinite(start)))
}

describe('trainingStarts', () => {
  it('takes layers from either end, with what stands beyond them', () => {
    expect(Object.keys(trained({}))).toHaveLength(WEIGHTS.length)
    expect(Object.keys(trained({ trainedPart: 'last' }))).toEqual([
      ...['layers.10.self_attn.q_proj', 'layers.10.input_layernorm', 'norm', 'lm_head'],
    ])
    expect(Object.keys(trained({ trainedPart: 'first', trainedLayers: 2 }))).toEqual([
      ...['embed_tokens', 'layers.0.self_attn.q_proj', 'layers.0.input_layernorm'],
      ...['layers.1.self_attn.q_proj', 'layers.1.input_layernorm'],
    ])
  })

  it('takes norms, or the head, which may be the embedding', () => {
    expect(Object.keys(trained({ trainedPart: 'norms' }))).toEqual([
      ...['layers.0.input_layernorm', 'layers.1.input_layernorm', 'layers.10.input_layernorm', 'norm'],
    ])
    expect(Object.keys(trained({ trainedPart: 'head' }))).toEqual(['lm_head'])
    const tied = [weight('model.embed_tokens.weight', 'embedding', true), ...WEIGHTS.slice(1, -1)]
    expect(Object.keys(trained({ trainedPart: 'head' }, tied))).toEqual(['embed_tokens'])
  })

  it('takes whole parts of names', () => {
    const named = (trainedNames: string) => Object.keys(trained({ trainedPart: 'names', trainedNames }))
    expect(named('layers.1')).toEqual(['layers.1.self_attn.q_proj', 'layers.1.input_layernorm'])
    expect(named(' *norm , lm_head')).toEqual([
      ...['layers.0.input_layernorm', 'layers.1.input_layernorm', 'layers.10.input_layernorm', 'norm', 'lm_head'],
    ])
  })

  it('goes down from the top by epochs, the embedding last', () => {
    const starts = trained({ trainedPart: 'gradual', trainedLayers: 2 })
    expect(starts).toMatchObject({ lm_head: 0, norm: 0, 'layers.10.input_layernorm': 0, 'layers.1.input_layernorm': 4 })
    expect(starts).toMatchObject({ 'layers.0.self_attn.q_proj': 5, embed_tokens: 6 })
  })

  it('refuses to train nothing, with a name that would do', () => {
    const refusal = (): CodedError => {
      try {
        trained({ trainedPart: 'names', trainedNames: 'q_prj' })
      } catch (error) {
        return error as CodedError
      }
      throw new Error('was not refused')
    }
    expect(refusal().code).toBe('job.invalid')
    expect(refusal().fix).toContain('lm_head')
  })
})
