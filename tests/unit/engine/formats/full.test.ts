/** Trained weights in the place of the base's: merged, measured, read back, and refused where there is no place for them. */
import { describe, expect, it } from 'vitest'
import { planExport, type ExportMaterial } from '../../../../src/engine/export/plan'
import { adapterChange } from '../../../../src/engine/formats/change'
import type { Weights } from '../../../../src/engine/formats/checkpoint-index'
import { mergeWeights } from '../../../../src/engine/formats/merge'
import { readPeft, writePeft, type FullConfig, type PeftAdapter } from '../../../../src/engine/formats/peft'
import { fromFloat32, toFloat32 } from '../../../../src/engine/formats/safetensors'
import type { TensorData } from '../../../../src/shared/records'
import { memoryFolder } from '../../../support/memory-folder'

const tensor = (shape: number[], ...values: number[]): TensorData =>
  fromFloat32(Float32Array.from(values), shape, 'F32')

function weights(tensors: Record<string, TensorData>): Weights {
  const find = (name: string): TensorData => tensors[name] as TensorData
  return { names: Object.keys(tensors), info: find, read: async (name) => find(name) }
}

const base = weights({
  'wte.weight': tensor([2, 1], 1, 2),
  'h.0.attn.c_attn.weight': tensor([1, 2], 3, 4),
  'h.0.attn.c_attn.bias': tensor([2], 5, 6),
  'ln_f.weight': tensor([1], 7),
})

function trained(tensors: Record<string, TensorData>): PeftAdapter<FullConfig> {
  return { config: { peft_type: 'FULL', base_model_name_or_path: 'base' }, tensors }
}

const run = trained({
  'transformer.h.0.attn.c_attn.weight': tensor([1, 2], 3, 7),
  'transformer.h.0.attn.c_attn.bias': tensor([2], 8, 9),
})

describe('trained weights', () => {
  it('stand in the place of the base’s, whatever prefix its files have; the rest stays', async () => {
    const merged = mergeWeights(base, run)
    expect([...toFloat32(await merged.read('h.0.attn.c_attn.weight'))]).toEqual([3, 7])
    expect([...toFloat32(await merged.read('h.0.attn.c_attn.bias'))]).toEqual([8, 9])
    expect([...toFloat32(await merged.read('ln_f.weight'))]).toEqual([7])
  })

  it('find a tied table under the head’s name', async () => {
    const tied = weights({ 'lm_head.weight': tensor([2, 1], 1, 2) })
    const merged = mergeWeights(tied, trained({ 'model.embed_tokens.weight': tensor([2, 1], 5, 6) }))
    expect([...toFloat32(await merged.read('lm_head.weight'))]).toEqual([5, 6])
  })

  it('are measured against the weights that they were', async () => {
    const [change, ...others] = await adapterChange(base, run)
    expect(change).toMatchObject({ layer: 0, target: 'c_attn', change: 3, weight: 5, ratio: 0.6 })
    expect(others).toEqual([])
  })

  it('are refused where the model has no place for them, each by name', () => {
    const strange = trained({ 'model.x.weight': tensor([1], 1), 'transformer.ln_f.weight': tensor([2], 1, 2) })
    expect(() => mergeWeights(base, strange)).toThrow(
      /model\.x\.weight is not.*ln_f\.weight is \[2\] and should be \[1\]/,
    )
  })

  it('are kept as a folder of this program, and exported as a model alone', async () => {
    const files = Object.fromEntries(writePeft(run).map(({ name, bytes }) => [name, bytes]))
    const read = await readPeft(memoryFolder(files))
    expect(read.config).toEqual(run.config)
    expect(Object.keys(read.tensors).sort()).toEqual(Object.keys(run.tensors).sort())
    const material = { adapter: run } as unknown as ExportMaterial
    await expect(planExport('peft', material)).rejects.toThrow(/no adapter/)
  })
})
