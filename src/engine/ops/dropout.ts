/**
 * Dropout whose mask follows from a seed alone, the same on every backend. Refuses to draw from Math.random or to keep masks:
 * the backward pass makes the mask again.
 */
import { tf } from '../tf'
import { dispatch, emptyTensor, onGPU, spread, type Binding } from './gpu'

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

/** `count` numbers spread evenly over -1 to 1, from the same hash. */
export function evenNoise(count: number, seed: number, salt: number): Float32Array {
  const first = hash32(seed)
  const second = hash32(first + salt + 1)
  return Float32Array.from({ length: count }, (_, i) => hash32(hash32(i + first) ^ second) / 2 ** 31 - 1)
}

/** Reference on any backend: the mask is made on the host and uploaded. A seed on the device is read back (cheap off the GPU only). */
export function dropoutReference<T extends tf.Tensor>(x: T, key: DropoutKey): T {
  const seed = typeof key.seed === 'number' ? key.seed : key.seed.dataSync()[0]!
  return tf.tidy(() => tf.mul(x, tf.tensor(dropoutMask(x.size, key.rate, seed, key.salt ?? 0), x.shape)) as T)
}

/** Binding of the seed where it lies on the device. */
export function seedBinding({ seed }: DropoutKey): Record<string, Binding> {
  return typeof seed === 'number' ? {} : { drop_seed: { tensor: seed, type: 'i32' } }
}

/** Uniforms that {@link dropoutWGSL} reads; `drop_keep` is an f32. */
export function dropoutUniforms({ rate, seed, salt = 0 }: DropoutKey): Record<string, number> {
  return {
    drop_number: typeof seed === 'number' ? seed >>> 0 : 0,
    drop_salt: salt >>> 0,
    drop_threshold: dropThreshold(rate),
    drop_keep: 1 / (1 - rate),
  }
}

/** WGSL: call `drop_start()` once a thread, then `drop(i)` and `drop_four(i)` give factors of elements i and i…i+3. */
export function dropoutWGSL({ seed }: DropoutKey): string {
  return `fn hash32(value: u32) -> u32 {
  let state = value * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return (word >> 22u) ^ word;
}
var<private> drop_first: u32;
var<private> drop_second: u32;
fn drop_start() {
  drop_first = hash32(u.drop_number${typeof seed === 'number' ? '' : ' + bitcast<u32>(drop_seed[0])'});
  drop_second = hash32(drop_first + u.drop_salt + 1u);
}
fn drop(i: u32) -> f32 {
  return select(0.0, u.drop_keep, hash32(hash32(i + drop_first) ^ drop_second) >= u.drop_threshold);
}
fn drop_four(i: u32) -> vec4<f32> {
  return vec4<f32>(drop(i), drop(i + 1u), drop(i + 2u), drop(i + 3u));
}`
}

function dropoutProgram<T extends tf.Tensor>(x: T, key: DropoutKey): T {
  const y = emptyTensor(x.shape as [number])
  dispatch({
    key: 'dropout',
    bindings: { y: { tensor: y, type: 'f32', write: true }, x: { tensor: x, type: 'f32' }, ...seedBinding(key) },
    uniforms: { size: x.size, ...dropoutUniforms(key) },
    floats: ['drop_keep'],
    workgroups: spread(Math.ceil(x.size / 64)),
    code: () => `${dropoutWGSL(key)}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + tid;
  drop_start();
  if (i < u.size) { y[i] = x[i] * drop(i); }
}`,
  })
  return y as tf.Tensor as T
}

/** x with a share of its elements zeroed and the rest scaled by 1/(1-rate); its own gradient when applied to dy. Not on the tape. */
export function applyDropout<T extends tf.Tensor>(x: T, key: DropoutKey | undefined): T {
  if (!key || key.rate === 0) return x
  return onGPU() ? dropoutProgram(x, key) : dropoutReference(x, key)
}
