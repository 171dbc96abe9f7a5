/**
 * Dropout whose mask follows from a seed alone, the same on every backend. Refuses to draw from Math.random or to keep masks:
 * the backward pass makes the mask again.
 */
import { tf } from '../tf'

/** Seed of a step as a number or as an int32 scalar on the device (so that a recorded step can be replayed); salt tells sites apart. */
export interface DropoutKey {
  /** Probability that an element is dropped, 0 ≤ rate < 1. */
  rate: number
  /** Seed of the step. */
  seed: number | tf.Tensor
  /** Constant of the place in the model. */
  salt?: number
}

/** The PCG output hash of 32 bits (O'Neill 2014; RXS-M-XS); the WGSL program computes the same. */
export function hash32(value: number): number {
  const state = (Math.imul(value, 747796405) + 2891336453) >>> 0
  const word = Math.imul((state >>> ((state >>> 28) + 4)) ^ state, 277803737) >>> 0
  return ((word >>> 22) ^ word) >>> 0
}

/** Elements whose hash lies below are dropped. */
export function dropThreshold(rate: number): number {
  return Math.min(0xffffffff, Math.floor(rate * 2 ** 32))
}

/** Multiplicative mask (0 or 1/(1-rate)) for `count` elements, computed on the host. */
export function dropoutMask(count: number, rate: number, seed: number, salt: number): Float32Array {
  const first = hash32(seed)
  const second = hash32(first + salt + 1)
  const threshold = dropThreshold(rate)
  const keep = 1 / (1 - rate)
  const mask = new Float32Array(count)
  for (let i = 0; i < count; i++) {
    if (hash32(hash32(i + first) ^ second) >= threshold) mask[i] = keep
  }
  return mask
}

/** Reference on any backend: the mask is made on the host and uploaded. A seed on the device is read back (cheap off the GPU only). */
export function dropoutReference<T extends tf.Tensor>(x: T, key: DropoutKey): T {
  const seed = typeof key.seed === 'number' ? key.seed : key.seed.dataSync()[0]!
  return tf.tidy(() => tf.mul(x, tf.tensor(dropoutMask(x.size, key.rate, seed, key.salt ?? 0), x.shape)) as T)
}

/** x with a share of its elements zeroed and the rest scaled by 1/(1-rate); its own gradient when applied to dy. Not on the tape. */
export function applyDropout<T extends tf.Tensor>(x: T, key: DropoutKey | undefined): T {
  if (!key || key.rate === 0) return x
  return dropoutReference(x, key)
}
