/**
 * From a checkpoint's tensors to device weights: names and shapes are checked against a plan, values against NaN and Inf.
 * Refuses a checkpoint with anything missing, misshapen or unexpected, naming all of it in one error.
 */
import { CodedError } from '../../shared/errors'
import type { Progress } from '../../shared/files'
import { toFloat32 } from '../formats/safetensors'
import type { Weights } from '../formats/checkpoint-index'
import { Linear } from '../nn/linear'
import type { RopeConfig } from '../nn/rope'
import { RopeTables } from '../nn/rope'
import type { NetworkWeight } from '../nn/network'
import type { Holdings } from '../nn/stack'
import { FrozenMatrix } from '../ops'
import { tf } from '../tf'
import type { MatrixRole, Quantization } from './precision'
import { isPlainOnWasm, precisionOf } from './precision'

/** A tensor that a family expects in its checkpoint. */
export interface WeightSpec {
  readonly name: string
  readonly shape: readonly number[]
  /** Other names under which the same tensor may stand. */
  readonly aliases?: readonly string[]
  /** May be absent. */
  readonly optional?: true
}

export interface WeightPlan {
  readonly specs: readonly WeightSpec[]
  /** Names that files carry and nobody needs (buffers, unused heads). */
  readonly ignore: readonly RegExp[]
}

/** Writes a {@link WeightPlan} down, tensor by tensor. */
export class PlanBuilder {
  readonly #specs: WeightSpec[] = []

  vector(name: string, size: number): void {
    this.#specs.push({ name, shape: [size] })
  }

  matrix(name: string, rows: number, columns: number, aliases: readonly string[] = []): void {
    this.#specs.push({ name, shape: [rows, columns], ...(aliases.length > 0 ? { aliases } : {}) })
  }

  /** `MODULE.weight` `[out, in]`, or `[in, out]` where `transposed`, and `MODULE.bias` `[out]`. */
  linear(module: string, out: number, inn: number, bias = false, transposed = false): void {
    this.matrix(`${module}.weight`, transposed ? inn : out, transposed ? out : inn)
    if (bias) this.vector(`${module}.bias`, out)
  }

  /** The embedding table, and the head where it is not the table itself; a tied file may hold either name. */
  embeddingAndHead(
    embedding: string,
    head: string,
    c: { vocabulary: number; hiddenSize: number; tied: boolean },
  ): void {
    this.matrix(`${embedding}.weight`, c.vocabulary, c.hiddenSize, c.tied ? [`${head}.weight`] : [])
    if (!c.tied) this.matrix(`${head}.weight`, c.vocabulary, c.hiddenSize)
  }

  /** @param ignore more names that files carry and nobody needs. */
  done(ignore: readonly RegExp[] = []): WeightPlan {
    return { specs: this.#specs, ignore: [...BUFFERS, ...ignore] }
  }
}

/** Buffers that old checkpoints carry. */
const BUFFERS = [/\.rotary_emb\.inv_freq$/]

/** Most tensors named in a message; the rest is counted. */
const MOST_NAMED = 12

function listed(items: readonly string[]): string {
  const more = items.length - MOST_NAMED
  return items.slice(0, MOST_NAMED).join('; ') + (more > 0 ? `; and ${more} more` : '')
}

/**
 * Where each planned tensor stands in the file.
 * @returns planned name → name in the checkpoint; optional ones that are absent are left out.
 * @throws CodedError `model.tensors` listing everything missing, misshapen and unexpected.
 */
export function matchWeights(plan: WeightPlan, weights: Pick<Weights, 'names' | 'info'>): Map<string, string> {
  const present = new Set(weights.names)
  const found = new Map<string, string>()
  const missing: string[] = []
  const misshapen: string[] = []
  const known = new Set<string>()
  for (const spec of plan.specs) {
    const names = [spec.name, ...(spec.aliases ?? [])]
    for (const name of names) known.add(name)
    const name = names.find((candidate) => present.has(candidate))
    if (name === undefined) {
      if (!spec.optional) missing.push(`${spec.name} [${spec.shape.join(', ')}]`)
      continue
    }
    const shape = weights.info(name).shape
    if (shape.join() !== spec.shape.join())
      misshapen.push(`${name} is [${shape.join(', ')}] and should be [${spec.shape.join(', ')}]`)
    found.set(spec.name, name)
  }
  const unexpected = weights.names.filter((name) => !known.has(name) && !plan.ignore.some((rule) => rule.test(name)))
  const problems = [
    missing.length > 0 ? `Missing: ${listed(missing)}.` : '',
    misshapen.length > 0 ? `Of another shape than config.json says: ${listed(misshapen)}.` : '',
    unexpected.length > 0 ? `Unexpected: ${listed(unexpected)}.` : '',
  ].filter(Boolean)
  if (problems.length > 0)
    throw new CodedError('model.tensors', `The weights do not fit config.json. ${problems.join(' ')}`, {
      where: 'model.safetensors',
      fix: 'Take all files of the model from the same place and revision.',
    })
  return found
}

/** @throws CodedError `model.not-finite` with the position of the first NaN or Inf. */
function checkFinite(values: Float32Array, name: string): void {
  // Summing in blocks is several times faster than testing each value; a NaN or Inf makes the sum so.
  const block = 4096
  for (let start = 0; start < values.length; start += block) {
    const end = Math.min(values.length, start + block)
    let sum = 0
    for (let i = start; i < end; i++) sum += (values[i] as number) * 0
    if (sum === 0) continue
    const at = values.subarray(start, end).findIndex((value) => !Number.isFinite(value))
    throw notFinite(name, start + at)
  }
}

/** The error for a tensor with a NaN or Inf at a position. */
export function notFinite(name: string, at: number): CodedError {
  return new CodedError('model.not-finite', 'The weights contain NaN or Inf: they are damaged.', {
    where: `${name}, element ${at}`,
    fix: 'Download or export the model again.',
  })
}

export interface LoadOptions {
  /** How the matrices are kept; `none` where left out. */
  quantization?: Quantization
  onProgress?: (progress: Progress) => void
  signal?: AbortSignal
}

/** Reads planned tensors one by one onto the device, in the precision that is asked for, and owns what it made, so that a failed load leaves nothing behind. */
export class WeightLoader implements Holdings {
  readonly #weights: Weights
  readonly #names: Map<string, string>
  readonly #options: LoadOptions
  readonly #made: (Pick<Holdings, 'bytes' | 'dispose'> | tf.Tensor)[] = []
  /** Every weight made so far, in the order of loading. */
  readonly weights: NetworkWeight[] = []
  readonly #total: number
  #done = 0

  constructor(weights: Weights, plan: WeightPlan, options: LoadOptions) {
    this.#weights = weights
    this.#names = matchWeights(plan, weights)
    this.#options = options
    this.#total = [...this.#names.values()].reduce((sum, name) => sum + count(weights.info(name).shape), 0)
  }

  has(name: string): boolean {
    return this.#names.has(name)
  }

  /** A `[out, in]` table (embedding, positions, head); `transposed` where the file holds `[in, out]` (GPT-2's Conv1D). */
  async matrix(name: string, transposed = false): Promise<FrozenMatrix> {
    return this.#matrix(name, 'table', transposed)
  }

  /** A head with a bias as one `[out, in + 1]` matrix, the bias in the last column. */
  async matrixWithBias(module: string, biasName: string): Promise<FrozenMatrix> {
    const { values, shape, dtype } = await this.#read(`${module}.weight`)
    const { values: bias } = await this.#read(biasName)
    const [rows = 0, columns = 0] = shape
    const joined = new Float32Array(rows * (columns + 1))
    for (let r = 0; r < rows; r++) {
      joined.set(values.subarray(r * columns, (r + 1) * columns), r * (columns + 1))
      joined[r * (columns + 1) + columns] = bias[r] as number
    }
    const matrix = this.#keep(joined, rows, columns + 1, 'table', dtype)
    this.weights.push({ name: `${module}.weight`, value: matrix, bias: biasName })
    return matrix
  }

  /** A vector; `shift` is added to it (Gemma's norms hold weight - 1). */
  async vector(name: string, shift = 0): Promise<tf.Tensor1D> {
    const { values } = await this.#read(name)
    if (shift !== 0) for (let i = 0; i < values.length; i++) values[i] = (values[i] as number) + shift
    const vector = tf.keep(tf.tensor1d(values))
    this.#made.push(vector)
    this.weights.push({ name, value: vector, ...(shift === 0 ? {} : { shift }) })
    return vector
  }

  /** A linear layer with `weight` and, where the plan found one, `bias`. */
  async linear(module: string, layer: number, transposed = false): Promise<Linear> {
    const weight = await this.#matrix(`${module}.weight`, 'linear', transposed)
    const bias = this.has(`${module}.bias`) ? await this.vector(`${module}.bias`) : null
    return new Linear(module, layer, weight, bias)
  }

  /** Rotary tables, which are freed with the weights. */
  rope(config: RopeConfig): RopeTables {
    const tables = new RopeTables(config)
    this.#made.push(tables)
    return tables
  }

  /** See {@link Network.prepare}. */
  prepare(length: number, ahead: number): void {
    for (const made of this.#made) if (made instanceof RopeTables) made.prepare(length, ahead)
  }

  /** Bytes of everything made so far. */
  get bytes(): number {
    return this.#made.reduce((sum, made) => sum + (made instanceof tf.Tensor ? 4 * made.size : made.bytes), 0)
  }

  /** Frees everything made so far. */
  dispose(): void {
    for (const made of this.#made) made.dispose()
  }

  async #matrix(name: string, role: MatrixRole, transposed: boolean): Promise<FrozenMatrix> {
    const { values, shape, dtype } = await this.#read(name)
    const [rows = 0, columns = 0] = shape
    const matrix = transposed
      ? this.#keep(transpose(values, rows, columns), columns, rows, role, dtype)
      : this.#keep(values, rows, columns, role, dtype)
    this.weights.push({ name, value: matrix, ...(transposed ? { transposed } : {}) })
    return matrix
  }

  #keep(values: Float32Array, rows: number, columns: number, role: MatrixRole, dtype: string): FrozenMatrix {
    const { quantization = 'none' } = this.#options
    const plain = tf.getBackend() !== 'webgpu' && isPlainOnWasm(quantization, this.#total)
    const precision = plain ? 'f32' : precisionOf(quantization, role, dtype)
    const matrix = FrozenMatrix.from(values, rows, columns, precision, !plain)
    this.#made.push(matrix)
    return matrix
  }

  async #read(name: string): Promise<{ values: Float32Array; shape: readonly number[]; dtype: string }> {
    this.#options.signal?.throwIfAborted()
    const stored = this.#names.get(name)
    if (stored === undefined) throw new Error(`${name} is not in the plan`)
    const tensor = await this.#weights.read(stored)
    const values = toFloat32(tensor)
    checkFinite(values, stored)
    this.#done += values.length
    this.#options.onProgress?.({ stage: 'Loading weights', done: this.#done, total: this.#total, unit: 'items' })
    return { values, shape: tensor.shape, dtype: tensor.dtype }
  }
}

/** Number of elements of a shape. */
export function count(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1)
}

/** A row-major `[rows, columns]` matrix transposed. */
export function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const result = new Float32Array(values.length)
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) result[c * rows + r] = values[r * columns + c] as number
  return result
}
