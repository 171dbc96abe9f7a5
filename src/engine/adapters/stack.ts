/**
 * Several LoRA adapters of one model as a single one that does what they do together, exactly: matrices side by side, each
 * as heavy as wanted. Refuses adapters whose changes do not add up (DoRA).
 */
import { CodedError } from '../../shared/errors'
import type { TensorData } from '../../shared/records'
import { asLora, loraDeltas, savedTensors, type LoraDelta, type PeftAdapter } from '../formats/peft'
import { toFloat32 } from '../formats/safetensors'

interface StackPart {
  adapter: PeftAdapter
  /** 0 takes it out, 1 is as it was trained. */
  weight: number
}

/**
 * B₁A₁ and B₂A₂ as [w₁s₁B₁ w₂s₂B₂][A₁; A₂], of the sum of their ranks and a scale of 1 (what PEFT calls "cat").
 * @throws CodedError `adapter.unsupported` where one is DoRA, `adapter.mismatch` where their shapes differ.
 */
export function stackAdapters(parts: readonly StackPart[]): PeftAdapter {
  const modules = new Map<string, { delta: LoraDelta; weight: number }[]>()
  for (const { adapter, weight } of parts) {
    if (asLora(adapter).config.use_dora)
      throw new CodedError('adapter.unsupported', 'A DoRA adapter cannot be added to another one.', {
        where: 'use_dora',
        fix: 'Use it alone, or add adapters that were trained without DoRA.',
      })
    const [saved] = Object.keys(savedTensors(adapter))
    if (saved !== undefined)
      throw new CodedError(
        'adapter.unsupported',
        'An adapter that replaces whole weights cannot be added to another one.',
        {
          where: saved,
          fix: 'Use it alone.',
        },
      )
    for (const delta of loraDeltas(adapter)) {
      modules.set(delta.module, [...(modules.get(delta.module) ?? []), { delta, weight }])
    }
  }
  const tensors: Record<string, TensorData> = {}
  const ranks: Record<string, number> = {}
  for (const [module, entries] of modules) {
    const { a, b, rank } = sideBySide(module, entries)
    tensors[`base_model.model.${module}.lora_A.weight`] = a
    tensors[`base_model.model.${module}.lora_B.weight`] = b
    ranks[module] = rank
  }
  const [first] = parts
  if (!first) throw new CodedError('usage', 'There is no adapter to add up.', { fix: 'Choose one.' })
  return {
    config: {
      ...first.adapter.config,
      ...{ r: 1, lora_alpha: 1, lora_dropout: 0, use_rslora: false, target_modules: [...modules.keys()] },
      ...{ rank_pattern: ranks, alpha_pattern: { ...ranks } },
    },
    tensors,
  }
}

function sideBySide(
  module: string,
  entries: readonly { delta: LoraDelta; weight: number }[],
): { a: TensorData; b: TensorData; rank: number } {
  const rank = entries.reduce((sum, { delta }) => sum + delta.rank, 0)
  const [columns, rows] = sizesOf(entries[0]?.delta)
  const a = new Float32Array(rank * columns)
  const b = new Float32Array(rows * rank)
  let at = 0
  for (const { delta, weight } of entries) {
    const [otherColumns, otherRows] = sizesOf(delta)
    if (otherColumns !== columns || otherRows !== rows)
      throw new CodedError('adapter.mismatch', `These adapters are not of the same model: ${module} differs.`, {
        where: module,
        fix: 'Choose adapters that were trained on the same model.',
      })
    a.set(toFloat32(delta.a), at * columns)
    const values = toFloat32(delta.b)
    for (let row = 0; row < rows; row++)
      for (let i = 0; i < delta.rank; i++)
        b[row * rank + at + i] = weight * delta.scale * (values[row * delta.rank + i] as number)
    at += delta.rank
  }
  return { a: floats(a, [rank, columns]), b: floats(b, [rows, rank]), rank }
}

/** Width of a pair's input and of its output. */
function sizesOf(delta: LoraDelta | undefined): [number, number] {
  return [delta?.a.shape[1] ?? 0, delta?.b.shape[0] ?? 0]
}

function floats(values: Float32Array, shape: number[]): TensorData {
  return { dtype: 'F32', shape, bytes: new Uint8Array(values.buffer) }
}
