/**
 * A tiny gradient check at start: some devices compute the forward pass right and gradients wrong (one phone GPU gives zeros).
 * Refuses to train anything: it compares one small layer's gradients with numbers computed on the host.
 */
import { FrozenMatrix, linear, rmsNorm, swiglu } from './ops'
import { uniform } from './random'
import { tf } from './tf'

const N = 5
const IN = 8
const OUT = 6
const RANK = 2
const SCALE = 2
const EPSILON = 1e-5

type Matrix = Float64Array[]

function matrix(rows: number, columns: number, seed: number): Matrix {
  const next = uniform(seed)
  return Array.from({ length: rows }, () => Float64Array.from({ length: columns }, () => Math.fround(next() - 0.5)))
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, value, i) => sum + value * (b[i] as number), 0)
}

interface Sample {
  x: Matrix
  w: Matrix
  a: Matrix
  b: Matrix
  up: Matrix
  dy: Matrix
}

/** sum(dy · silu(norm(x)·(W + s·B·A)ᵀ) · up) in f64 for a given A and B. */
function objective({ x, w, a, b, up, dy }: Sample): number {
  let total = 0
  x.forEach((row, n) => {
    const inverse = 1 / Math.sqrt(dot(row, row) / IN + EPSILON)
    const normal = row.map((value) => value * inverse)
    const low = a.map((ar) => dot(ar, normal))
    for (let o = 0; o < OUT; o++) {
      const gate = dot(w[o] as Float64Array, normal) + SCALE * dot(b[o] as Float64Array, Float64Array.from(low))
      total += (dy[n]?.[o] as number) * (gate / (1 + Math.exp(-gate))) * (up[n]?.[o] as number)
    }
  })
  return total
}

/** Central differences in f64, exact to about 1e-9. */
function wanted(sample: Sample, of: 'a' | 'b'): number[] {
  const step = 1e-5
  return sample[of].flatMap((row) =>
    Array.from(row, (value, i) => {
      row[i] = value + step
      const above = objective(sample)
      row[i] = value - step
      const below = objective(sample)
      row[i] = value
      return (above - below) / (2 * step)
    }),
  )
}

/** The largest relative error of the device's gradients of one adapted, normed, gated layer; NaN if they are not numbers. */
export async function gradientSelfTest(): Promise<number> {
  const sample: Sample = {
    x: matrix(N, IN, 1),
    w: matrix(OUT, IN, 2),
    a: matrix(RANK, IN, 3),
    b: matrix(OUT, RANK, 4),
    up: matrix(N, OUT, 5),
    dy: matrix(N, OUT, 6),
  }
  const flat = (m: Matrix): Float32Array => Float32Array.from(m.flatMap((row) => [...row]))
  const tensor = (m: Matrix): tf.Tensor2D => tf.tensor2d(flat(m), [m.length, m[0]?.length ?? 0])
  const weight = FrozenMatrix.from(flat(sample.w), OUT, IN)
  const both = tf.tidy(() => {
    const [x, up, dy] = [tensor(sample.x), tensor(sample.up), tensor(sample.dy)]
    const layer = (a: tf.Tensor2D, b: tf.Tensor2D): tf.Tensor2D => {
      const normal = rmsNorm(x, tf.fill([IN], 1) as tf.Tensor1D, EPSILON)
      return swiglu(linear(normal, weight, null, { a, b, scale: SCALE }), up)
    }
    const [a, b] = [tensor(sample.a), tensor(sample.b)]
    const { grads } = tf.engine().gradients(() => layer(a, b), [a, b], dy)
    return tf.concat1d(grads.map((grad) => tf.reshape(grad, [grad.size]) as tf.Tensor1D))
  })
  const actual = (await both.data()) as Float32Array
  both.dispose()
  weight.dispose()
  const target = [...wanted(sample, 'a'), ...wanted(sample, 'b')]
  const largest = Math.max(...target.map(Math.abs))
  return Math.max(...target.map((value, i) => Math.abs(value - (actual[i] as number)) / largest))
}
