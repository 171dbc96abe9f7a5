/**
 * Base weights with an adapter in them, tensor by tensor: W + scale · B·A, or W times the factors of (IA)³. Refuses an adapter that has no
 * place in the weights, naming every layer that is missing.
 */
import { CodedError } from '../../shared/errors'
import type { TensorData } from '../../shared/records'
import type { Weights } from './checkpoint-index'
import { replaceWeights } from './full'
import { asLora, loraDeltas, savedTensors, untiesHead, type FullConfig, type LoraDelta, type PeftAdapter } from './peft'
import type { Ia3Config } from './peft-methods'
import { fromFloat32, toFloat32 } from './safetensors'

/** The name of a layer's weight in these weights: as PEFT has it, or without or with a family's outer prefix. */
export function weightName(module: string, names: ReadonlySet<string>, part = 'weight'): string | undefined {
  const plain = module.replace(/^(model|transformer|gpt_neox)\./, '')
  const candidates = [module, plain, `model.${plain}`, `transformer.${plain}`, `gpt_neox.${plain}`]
  return candidates.map((name) => `${name}.${part}`).find((name) => names.has(name))
}

const HEAD = 'lm_head.weight'
const EMBEDDING = /(^|\.)(embed_tokens|wte|embed_in)\.weight$/

/** Whether a model whose head is its table has two tensors once an adapter is merged in. */
export function becomesUntied(config: Readonly<Record<string, unknown>>, adapter: PeftAdapter): boolean {
  // Families whose configuration does not say so tie their head; transformers' usual value is true.
  const untiedByDefault = ['llama', 'mistral', 'qwen2', 'qwen3', 'phi', 'phi3', 'olmo2', 'granite', 'gpt_neox']
  const tied = config.tie_word_embeddings ?? !untiedByDefault.includes(String(config.model_type))
  return tied === true && adapter.config.peft_type === 'LORA' && untiesHead(asLora(adapter))
}

/**
 * The weights as they are after merging. `info` tells the stored type; a changed tensor is read as F32, all others as they stand.
 * @param unties whether a head that was the table becomes a tensor of its own: see {@link becomesUntied}.
 * Throws CodedError `adapter.mismatch` listing every layer without a place.
 */
export function mergeWeights(base: Weights, adapter: PeftAdapter, unties = false): Weights {
  if (adapter.config.peft_type === 'FULL') return replaceWeights(base, adapter as PeftAdapter<FullConfig>)
  return adapter.config.peft_type === 'IA3'
    ? mergeFactors(base, adapter as PeftAdapter<Ia3Config>)
    : mergeDeltas(base, adapter, unties)
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

function mergeDeltas(base: Weights, adapter: PeftAdapter, unties: boolean): Weights {
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
  const whole = new Map<string, TensorData>()
  const embedding = base.names.find((name) => EMBEDDING.test(name)) ?? HEAD
  for (const [saved, tensor] of Object.entries(savedTensors(adapter))) {
    const name = weightName(saved.replace(/\.(weight|bias)$/, ''), names, /bias$/.test(saved) ? 'bias' : 'weight')
    const place = name ?? (unties && saved === HEAD ? HEAD : undefined)
    if (place === undefined) problems.push(`${saved} is not in the model`)
    else if (place !== HEAD || names.has(HEAD)) {
      const { shape } = base.info(place)
      if (shape.join() !== tensor.shape.join()) problems.push(`${saved} is [${tensor.shape.join(', ')}] and should be [${shape.join(', ')}]`) // prettier-ignore
    }
    if (place !== undefined) whole.set(place, tensor)
  }
  refuse(problems)
  // A pair that was one tensor is two afterwards, whichever of the two names it had.
  const own = (name: string): string => (names.has(name) ? name : name === HEAD ? embedding : HEAD)
  const added = unties ? [embedding === HEAD ? 'model.embed_tokens.weight' : embedding, HEAD].filter((name) => !names.has(name)) : [] // prettier-ignore
  return {
    names: [...base.names, ...added],
    info: (name) => base.info(own(name)),
    async read(name) {
      const saved = whole.get(name)
      if (saved) return saved
      const tensor = await base.read(own(name))
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
