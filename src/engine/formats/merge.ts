/**
 * Base weights with an adapter in them, tensor by tensor: W + scale · B·A, or W times the factors of (IA)³. Refuses an adapter that has no
 * place in the weights, naming every layer that is missing.
 */
import { CodedError } from '../../shared/errors'
import type { TensorData } from '../../shared/records'
import type { Weights } from './checkpoint-index'
import { replaceWeights } from './full'
import { asLora, loraDeltas, type FullConfig, type LoraDelta, type PeftAdapter } from './peft'
import type { Ia3Config } from './peft-methods'
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
  if (adapter.config.peft_type === 'FULL') return replaceWeights(base, adapter as PeftAdapter<FullConfig>)
  return adapter.config.peft_type === 'IA3'
    ? mergeFactors(base, adapter as PeftAdapter<Ia3Config>)
    : mergeDeltas(base, adapter)
}

/** (IA)³: rows of weight and bias times the factors after a layer, columns times those before it. */
function mergeFactors(base: Weights, { config, tensors }: PeftAdapter<Ia3Config>): Weights {
  const names = new Set(base.names)
  const factors = new Map<string, { values: Float32Array; before: boolean; bias: boolean }>()
  const problems: string[] = []
  for (const [key, tensor] of Object.entries(tensors)) {
    const module = key.replace(/^base_model\.model\./, '').replace(/\.ia3_l$/, '')
    const name = weightName(module, names)
    const shape = name === undefined ? undefined : orient(base.info(name).shape, config.fan_in_fan_out)
    const before = tensor.shape[0] === 1
    const [values, wanted] = [toFloat32(tensor), before ? shape?.[1] : shape?.[0]]
    if (name === undefined) problems.push(`${module} is not in the model`)
    else if (values.length !== wanted) problems.push(`${module} has ${values.length} factors and needs ${wanted}`)
    else {
      factors.set(name, { values, before, bias: false })
      const bias = name.replace(/weight$/, 'bias')
      if (!before && names.has(bias)) factors.set(bias, { values, before, bias: true })
    }
  }
  refuse(problems)
  return {
    names: base.names,
    info: (name) => base.info(name),
    async read(name) {
      const tensor = await base.read(name)
      const factor = factors.get(name)
      if (!factor) return tensor
      const inn = factor.bias ? 1 : (orient(tensor.shape, config.fan_in_fan_out)[1] as number)
      const out = toFloat32(tensor).length / inn
      const transposed = config.fan_in_fan_out && !factor.bias
      // Row and column of a value in [out, in].
      const place = (i: number): [number, number] => (transposed ? [i % out, Math.floor(i / out)] : [Math.floor(i / inn), i % inn]) // prettier-ignore
      const scaled = toFloat32(tensor).map((value, i) => value * (factor.values[place(i)[factor.before ? 1 : 0]] as number)) // prettier-ignore
      return fromFloat32(scaled, tensor.shape, 'F32')
    },
  }
}

function refuse(problems: readonly string[]): void {
  if (problems.length === 0) return
  throw new CodedError('adapter.mismatch', `The adapter does not fit this model: ${problems.join('; ')}.`, {
    where: 'adapter_model.safetensors',
    fix: 'Use it with the model it was trained on.',
  })
}

function mergeDeltas(base: Weights, adapter: PeftAdapter): Weights {
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
  refuse(problems)
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
