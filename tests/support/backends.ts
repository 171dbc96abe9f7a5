/** What suites in tests/engine need on every backend: seeded tensors, comparisons, finite differences. */
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
import { expect } from 'vitest'
import { arithmeticHere, matrixUnits, type Arithmetic } from '../../src/engine/ops/arithmetic'
import { tf } from '../../src/engine/tf'

/** True where the suite runs on WebGPU; use with `describe.skipIf(!onWebGPU())`. */
export function onWebGPU(): boolean {
  return tf.getBackend() === 'webgpu'
}

/** True where products in this arithmetic round to halves; matrix units of some devices do not. */
export function roundsHere(wanted: Arithmetic): boolean {
  return arithmeticHere(wanted) === wanted && (wanted === 'f16' || matrixUnits()?.component === 'f16')
}

/** Seeded values, uniform in [-scale, scale). */
export function values(count: number, seed: number, scale = 1): Float32Array {
  const generator = xoroshiro128plus(seed)
  return Float32Array.from({ length: count }, () => (generator.next() / 2 ** 31) * scale)
}

/** Seeded tensor, uniform in [-scale, scale). */
export function random<R extends tf.Rank>(shape: tf.ShapeMap[R], seed: number, scale = 1): tf.Tensor<R> {
  const count = (shape as number[]).reduce((a, b) => a * b, 1)
  return tf.tensor<R>(values(count, seed, scale), shape, 'float32')
}

/** The largest |a − b|, infinite where one is not a number, the largest |b|, and where the former is. */
function furthest(a: ArrayLike<number>, b: ArrayLike<number>): { worst: number; size: number; at: number } {
  let [worst, size, at] = [0, 0, -1]
  for (let i = 0; i < b.length; i++) {
    size = Math.max(size, Math.abs(b[i]!))
    const off = Math.abs(a[i]! - b[i]!)
    if (!(off <= worst)) [worst, at] = [Number.isNaN(off) ? Infinity : off, i]
  }
  return { worst, size, at }
}

/** Largest difference over the largest wanted value; fails where there are not as many of both. */
export function relativeError(actual: ArrayLike<number>, wanted: ArrayLike<number>): number {
  expect(actual.length).toBe(wanted.length)
  const { worst, size } = furthest(actual, wanted)
  return worst / size
}

/** Fails where |a − b| > tolerance · max(1, largest |b|), or where shapes differ, or where anything is not finite. */
export async function expectClose(actual: tf.Tensor, wanted: tf.Tensor, tolerance = 1e-5, label = ''): Promise<void> {
  expect(actual.shape, label).toEqual(wanted.shape)
  const [a, b] = await Promise.all([actual.data(), wanted.data()])
  const { worst, size, at } = furthest(a, b)
  const share = worst / Math.max(1, size)
  expect(share, `${label}: element ${at} is ${a[at]}, wanted ${b[at]}`).toBeLessThanOrEqual(tolerance)
}

/** Gradients of sum(f(inputs) · weights) through the tape; `weights` are seeded, so that every output counts differently. */
export function tapeGradients(f: (...inputs: tf.Tensor[]) => tf.Tensor, inputs: tf.Tensor[], seed = 99): tf.Tensor[] {
  return tf.tidy(() => {
    const shape = tf.tidy(() => f(...inputs).shape)
    const weights = random(shape as [number], seed)
    return tf.grads((...xs: tf.Tensor[]) => tf.sum(tf.mul(f(...xs), weights)))(inputs)
  })
}

/**
 * Compares the tape's gradients with central differences at every element; sums are taken in f64 on the host.
 * Keep shapes tiny: two evaluations an element.
 */
export async function expectFiniteDifference(
  f: (...inputs: tf.Tensor[]) => tf.Tensor,
  inputs: tf.Tensor[],
  { step = 1e-2, tolerance = 2e-3, seed = 99 } = {},
): Promise<void> {
  const gradients = tapeGradients(f, inputs, seed)
  const objective = async (xs: tf.Tensor[]): Promise<number> => {
    const y = tf.tidy(() => f(...xs))
    const data = await y.data()
    y.dispose()
    const weights = values(data.length, seed)
    return Array.from(data).reduce((sum, value, i) => sum + value * weights[i]!, 0)
  }
  for (const [index, input] of inputs.entries()) {
    const base = Float32Array.from(await input.data())
    const wanted = new Float32Array(base.length)
    for (let i = 0; i < base.length; i++) {
      const shifted = async (by: number): Promise<number> => {
        const moved = Float32Array.from(base)
        moved[i]! += by
        const tensor = tf.tensor(moved, input.shape)
        const result = await objective(inputs.map((x, j) => (j === index ? tensor : x)))
        tensor.dispose()
        return result
      }
      wanted[i] = ((await shifted(step)) - (await shifted(-step))) / (2 * step)
    }
    await expectClose(gradients[index]!, tf.tensor(wanted, input.shape), tolerance, `gradient of input ${index}`)
  }
}
