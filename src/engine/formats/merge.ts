/**
 * Base weights with an adapter added in, tensor by tensor: W + scale · B·A. Refuses an adapter that has no place in the weights, naming
 * every layer that is missing.
 */
import { CodedError } from '../../shared/errors'
import type { TensorData } from '../../shared/records'
import type { Weights } from './checkpoint-index'
import { asLora, loraDeltas, type LoraDelta, type PeftAdapter } from './peft'
import { fromFloat32, toFloat32 } from './safetensors'

/** The name of a layer's weight in these weights: as PEFT has it, or without or with a family's outer prefix. */
export function weightName(module: string, names: ReadonlySet<string>): string | undefined {
  const plain = module.replace(/^(model|transformer|gpt_neox)\./, '')
  const candidates = [module, plain, `model.${plain}`, `transformer.${plain}`, `gpt_neox.${plain}`]
  return candidates.map((name) => `${name}.weight`).find((name) => names.has(name))
}

/**
 * The weights as they are after merging. `info` tells the stored type; a changed tensor is read as F32, all others as they stand.
 * Throws CodedError `adapter.mismatch` listing every layer without a place.
 */
export function mergeWeights(base: Weights, adapter: PeftAdapter): Weights {
  const { fan_in_fan_out: transposed } = asLora(adapter).config
  const names = new Set(base.names)
  const byWeight = new Map<string, LoraDelta>()
  const problems: string[] = []
  for (const delta of loraDeltas(adapter)) {
    const name = weightName(delta.module, names)
    if (name === undefined) {
      problems.push(`${delta.module} is not in the model`)
      continue
    }
    const [out = 0, inn = 0] = orient(base.info(name).shape, transposed)
    if (delta.b.shape[0] !== out || delta.a.shape[1] !== inn)
      problems.push(`${delta.module} is ${delta.b.shape[0]} × ${delta.a.shape[1]} and should be ${out} × ${inn}`)
    byWeight.set(name, delta)
  }
  if (problems.length > 0)
    throw new CodedError('adapter.mismatch', `The adapter does not fit this model: ${problems.join('; ')}.`, {
      where: 'adapter_model.safetensors',
      fix: 'Use it with the model it was trained on.',
    })
  return {
    names: base.names,
    info: (name) => base.info(name),
    async read(name) {
      const tensor = await base.read(name)
      const delta = byWeight.get(name)
      return delta ? addDelta(tensor, delta, transposed) : tensor
    },
  }
}

/** `[out, in]` of a stored shape. */
function orient(shape: readonly number[], transposed: boolean): readonly number[] {
  return transposed ? [...shape].reverse() : shape
}

/** W + scale · B·A, with its rows at the lengths that DoRA gave them; or its transpose where the weight is stored `[in, out]`. */
export function addDelta(tensor: TensorData, delta: LoraDelta, transposed: boolean): TensorData {
  const weight = toFloat32(tensor).slice()
  const [a, b] = [toFloat32(delta.a), toFloat32(delta.b)]
  const { rank, scale } = delta
  const out = delta.b.shape[0] as number
  const inn = delta.a.shape[1] as number
  const lengths = delta.lengths && toFloat32(delta.lengths)
  const row = new Float32Array(inn)
  for (let o = 0; o < out; o++) {
    row.fill(0)
    for (let r = 0; r < rank; r++) {
      const factor = b[o * rank + r] as number
      if (factor === 0) continue
      const from = r * inn
      for (let i = 0; i < inn; i++) row[i] = (row[i] as number) + factor * (a[from + i] as number)
    }
    const [start, stride] = transposed ? [o, out] : [o * inn, 1]
    let squares = 0
    for (let i = 0, at = start; i < inn; i++, at += stride) {
      const sum = (weight[at] as number) + scale * (row[i] as number)
      weight[at] = sum
      squares += sum * sum
    }
    if (!lengths) continue
    const factor = (lengths[o] as number) / Math.sqrt(Math.max(squares, 1e-20))
    for (let i = 0, at = start; i < inn; i++, at += stride) weight[at] = (weight[at] as number) * factor
  }
  return fromFloat32(weight, tensor.shape, 'F32')
}
