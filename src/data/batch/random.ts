/** Seeded permutations for splits and batches. Refuses any source of chance that a seed does not fix. */
import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'

/** A generator of whole numbers from 0 to below `limit`, the same for the same seed and stream everywhere. */
export function seededIntegers(seed: number, stream = 0): (limit: number) => number {
  const generator = xoroshiro128plus(mix(seed, stream))
  return (limit) => uniformInt(generator, 0, limit - 1)
}

/** 0 … count - 1 in a seeded order (Fisher-Yates). */
export function permutation(count: number, seed: number, stream = 0): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i)
  const below = seededIntegers(seed, stream)
  for (let i = count - 1; i > 0; i--) {
    const j = below(i + 1)
    const held = order[i] as number
    order[i] = order[j] as number
    order[j] = held
  }
  return order
}

/** Seed and stream as one 32-bit seed whose neighbours are unrelated (murmur3's finaliser). */
function mix(seed: number, stream: number): number {
  let h = (seed ^ Math.imul(stream + 1, 0x9e3779b1)) | 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}
