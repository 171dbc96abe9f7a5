/**
 * PiSSA (Meng et al. 2024): an adapter that starts as the largest singular directions of its weights, which it then moves. Refuses to
 * change the weights: what it starts from is taken off again in the pass, so that the model begins as it was.
 */
import { CodedError } from '../../shared/errors'
import { applies, currentJob, type Job } from '../../shared/job'
import type { Model } from '../models/model'
import type { LinearSpec } from '../nn/network'
import type { FrozenMatrix } from '../ops'
import { mixSeed, seedOf, uniform } from '../random'
import { tf } from '../tf'
import { adaptedLayers } from './places'
import { loraSettings, peftConfig, scaleOf } from './settings'

/** A `[r, in]` and B `[out, r]` with scale · B·A the best approximation of rank r. */
export interface PrincipalPair {
  readonly a: Float32Array
  readonly b: Float32Array
}

/** The starts of a fresh adapter whose job asks for them, by module; undefined for any other session. */
export async function principalStarts(
  input: Readonly<{ model: Model; job: Job; initAdapter?: unknown; checkpoint?: unknown }>,
): Promise<Map<string, PrincipalPair> | undefined> {
  const { model } = input
  const job = currentJob(input.job)
  if (!applies('loraInit', job) || job.loraInit !== 'pissa' || input.initAdapter || input.checkpoint) return undefined
  const settings = loraSettings(job)
  const { specs, targets } = adaptedLayers(model, settings)
  const config = peftConfig({ ...settings, targets }, model.record.name)
  const starts = new Map<string, PrincipalPair>()
  for (const spec of specs) {
    const { rank, scale } = scaleOf(config, spec.module)
    if (rank > Math.min(spec.out, spec.in))
      throw new CodedError('job.invalid', `${spec.module} has only ${Math.min(spec.out, spec.in)} directions.`, {
        where: 'rank',
        fix: `Set the rank to ${Math.min(spec.out, spec.in)} or less, or start from no change.`,
      })
    const seed = mixSeed(job.seed, seedOf(spec.module))
    starts.set(spec.module, await principalPair(spec.weight, spec, rank, scale, seed))
  }
  return starts
}

/** Directions that are followed beside those that are wanted, and at least; more make the wanted ones exact. */
const BESIDE = 16
const LEAST = 64
/** Times that the weights are applied forth and back (PEFT's `pissa_niter_16` does it as often). */
const ROUNDS = 8

/** The singular values of a matrix and its directions, largest first, found by orthogonal iteration from a seeded start. */
async function principalPair(
  weight: FrozenMatrix,
  { out, in: inn }: Pick<LinearSpec, 'out' | 'in'>,
  rank: number,
  scale: number,
  seed: number,
): Promise<PrincipalPair> {
  const width = Math.min(out, inn, Math.max(LEAST, rank + BESIDE))
  const next = uniform(seed)
  let right: Float64Array[] = Array.from({ length: width }, () =>
    Float64Array.from({ length: inn }, () => next() - 0.5),
  )
  let left: Float64Array[] = []
  orthonormalise(right)
  for (let round = 0; round < ROUNDS; round++) {
    left = await apply(weight, right, true)
    orthonormalise(left)
    right = await apply(weight, left, false)
    if (round < ROUNDS - 1) orthonormalise(right)
  }
  // right[i] = Wᵀ·left[i]: the small problem left is that of the Gram matrix of `right`.
  const { values, vectors } = eigen(right.map((x) => right.map((y) => dot(x, y))))
  const order = values.map((_, i) => i).sort((i, j) => values[j]! - values[i]!)
  const a = new Float32Array(rank * inn)
  const b = new Float32Array(out * rank)
  order.slice(0, rank).forEach((column, r) => {
    const singular = Math.sqrt(Math.max(values[column]!, 1e-30))
    const share = Math.sqrt(singular / scale)
    for (let k = 0; k < width; k++) {
      const weightOf = vectors[k]![column]!
      const [l, x] = [left[k]!, right[k]!]
      for (let i = 0; i < out; i++) b[i * rank + r]! += weightOf * l[i]! * share
      for (let i = 0; i < inn; i++) a[r * inn + i]! += (weightOf * x[i]! * share) / singular
    }
  })
  return { a, b }
}

/** W·x (or Wᵀ·x) of several vectors, on the device. */
async function apply(
  weight: FrozenMatrix,
  vectors: readonly Float64Array[],
  forward: boolean,
): Promise<Float64Array[]> {
  const size = vectors[0]!.length
  const flat = new Float32Array(vectors.length * size)
  vectors.forEach((vector, i) => flat.set(vector, i * size))
  const product = tf.tidy(() => {
    const x = tf.tensor2d(flat, [vectors.length, size])
    return forward ? weight.forward(x) : weight.backward(x)
  })
  const values = await product.data()
  product.dispose()
  const width = values.length / vectors.length
  return vectors.map((_, i) => Float64Array.from(values.subarray(i * width, (i + 1) * width)))
}

function dot(x: Float64Array, y: Float64Array): number {
  let sum = 0
  for (let i = 0; i < x.length; i++) sum += x[i]! * y[i]!
  return sum
}

/** Gram-Schmidt, twice over for the digits that the first time loses. */
function orthonormalise(vectors: Float64Array[]): void {
  vectors.forEach((vector, i) => {
    for (let again = 0; again < 2; again++) {
      for (let j = 0; j < i; j++) {
        const other = vectors[j]!
        const along = dot(vector, other)
        for (let k = 0; k < vector.length; k++) vector[k]! -= along * other[k]!
      }
    }
    const length = Math.sqrt(dot(vector, vector))
    const factor = length > 1e-12 ? 1 / length : 0
    for (let k = 0; k < vector.length; k++) vector[k]! *= factor
  })
}

/** Eigenvalues of a small symmetric matrix and its eigenvectors as columns: Jacobi's rotations. */
function eigen(matrix: number[][]): { values: number[]; vectors: number[][] } {
  const n = matrix.length
  const m = matrix.map((row) => [...row])
  const vectors = m.map((_, i) => m.map((__, j) => (i === j ? 1 : 0)))
  const total = m.reduce((sum, row) => sum + row.reduce((part, value) => part + value * value, 0), 0)
  for (let sweep = 0; sweep < 60; sweep++) {
    let off = 0
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) off += m[p]![q]! ** 2
    if (off <= 1e-24 * total) break
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) rotate(m, vectors, p, q)
  }
  return { values: m.map((row, i) => row[i]!), vectors }
}

/** Turns the plane of two axes so that the element between them becomes zero. */
function rotate(m: number[][], vectors: number[][], p: number, q: number): void {
  const between = m[p]![q]!
  if (between === 0) return
  const theta = (m[q]![q]! - m[p]![p]!) / (2 * between)
  const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1))
  const c = 1 / Math.sqrt(t * t + 1)
  const s = t * c
  for (let k = 0; k < m.length; k++) {
    const [x, y] = [m[k]![p]!, m[k]![q]!]
    m[k]![p] = c * x - s * y
    m[k]![q] = s * x + c * y
  }
  for (let k = 0; k < m.length; k++) {
    const [x, y] = [m[p]![k]!, m[q]![k]!]
    m[p]![k] = c * x - s * y
    m[q]![k] = s * x + c * y
    const [u, v] = [vectors[k]![p]!, vectors[k]![q]!]
    vectors[k]![p] = c * u - s * v
    vectors[k]![q] = s * u + c * v
  }
}
