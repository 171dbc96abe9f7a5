/**
 * How far an adapter moves each layer: ‖ΔW‖ / ‖W‖ in the Frobenius norm. Of plain LoRA ΔW is never formed: with ΔW = s·B·A its
 * square norm is s²·⟨BᵀB, AAᵀ⟩, two matrices as wide as the rank. DoRA and (IA)³ scale W itself, so there the merged weight is made.
 * Refuses adapters that change no weight: prompts, prefixes, bottlenecks.
 */
import type { ModuleChange } from '../../shared/judgement'
import type { TensorData } from '../../shared/records'
import type { Weights } from './checkpoint-index'
import { addDelta, mergeWeights, weightName } from './merge'
import { fullChange } from './full'
import { asLora, loraDeltas, type FullConfig, type LoraDelta, type PeftAdapter } from './peft'
import { toFloat32 } from './safetensors'

/**
 * The change of every adapted module, in the order of the adapter's tensors. Reads each base weight once, one at a time.
 * @throws CodedError `adapter.mismatch`, `adapter.unsupported`.
 */
export async function adapterChange(
  base: Weights,
  adapter: PeftAdapter,
  onModule: (done: number, total: number) => void = () => {},
): Promise<ModuleChange[]> {
  if (adapter.config.peft_type === 'FULL') return fullChange(base, adapter as PeftAdapter<FullConfig>, onModule)
  if (adapter.config.peft_type === 'IA3') return factorChange(base, adapter, onModule)
  const { fan_in_fan_out: transposed } = asLora(adapter).config
  const names = new Set(base.names)
  const changes: ModuleChange[] = []
  const deltas = loraDeltas(adapter)
  for (const [done, delta] of deltas.entries()) {
    const name = weightName(delta.module, names)
    if (name === undefined) continue
    const tensor = await base.read(name)
    const values = toFloat32(tensor)
    const weight = norm(values)
    const change = delta.lengths ? distance(toFloat32(addDelta(tensor, delta, transposed)), values) : deltaNorm(delta)
    changes.push({ ...placeOf(delta.module), change, weight, ratio: change / weight })
    onModule(done + 1, deltas.length)
  }
  return changes
}

/** Of (IA)³: the weight times its factors against the weight. */
async function factorChange(
  base: Weights,
  adapter: PeftAdapter,
  onModule: (done: number, total: number) => void,
): Promise<ModuleChange[]> {
  const merged = mergeWeights(base, adapter)
  const names = new Set(base.names)
  const modules = Object.keys(adapter.tensors).map((key) => key.replace(/^base_model\.model\.|\.ia3_l$/g, ''))
  const changes: ModuleChange[] = []
  for (const [done, module] of modules.entries()) {
    const name = weightName(module, names)
    if (name === undefined) continue
    const values = toFloat32(await base.read(name))
    const weight = norm(values)
    const change = distance(toFloat32(await merged.read(name)), values)
    changes.push({ ...placeOf(module), change, weight, ratio: change / weight })
    onModule(done + 1, modules.length)
  }
  return changes
}

/** Layer and kind of a module, from its name. */
function placeOf(module: string): Pick<ModuleChange, 'layer' | 'target'> {
  const parts = module.split('.')
  return { layer: Number(parts.find((part) => /^\d+$/.test(part)) ?? Number.NaN), target: parts.at(-1) ?? '' }
}

/** ‖s·B·A‖ from A `[r, in]` and B `[out, r]`, in double precision. */
function deltaNorm({ a, b, scale }: Pick<LoraDelta, 'a' | 'b' | 'scale'>): number {
  const rank = a.shape[0] as number
  const rows = gram(a, rank, true)
  const columns = gram(b, rank, false)
  let squares = 0
  for (let i = 0; i < rows.length; i++) squares += (rows[i] as number) * (columns[i] as number)
  return Math.abs(scale) * Math.sqrt(Math.max(0, squares))
}

/** M·Mᵀ of `[r, n]` or MᵀM of `[n, r]`: `[r, r]`. */
function gram(matrix: TensorData, rank: number, byRows: boolean): Float64Array {
  const values = toFloat32(matrix)
  const length = values.length / rank
  const [stride, step] = byRows ? [length, 1] : [1, rank]
  const result = new Float64Array(rank * rank)
  for (let i = 0; i < rank; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0
      for (let k = 0, p = i * stride, q = j * stride; k < length; k++, p += step, q += step) {
        sum += (values[p] as number) * (values[q] as number)
      }
      result[i * rank + j] = result[j * rank + i] = sum
    }
  }
  return result
}

function norm(values: Float32Array): number {
  let squares = 0
  for (const value of values) squares += value * value
  return Math.sqrt(squares)
}

/** ‖a − b‖ */
function distance(a: Float32Array, b: Float32Array): number {
  let squares = 0
  for (let i = 0; i < a.length; i++) squares += ((a[i] as number) - (b[i] as number)) ** 2
  return Math.sqrt(squares)
}
