/** Seeded numbers, so that a job repeats. Refuses Math.random and hidden state. */
import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'

/** One 32-bit seed from several integers (FNV-1a over their bytes, then a finishing mix). */
export function mixSeed(...parts: readonly number[]): number {
  let hash = 0x811c9dc5
  for (const part of parts) {
    for (let shift = 0; shift < 32; shift += 8) hash = Math.imul(hash ^ ((part >>> shift) & 0xff), 0x01000193)
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** A seed from a name. */
export function seedOf(text: string): number {
  return mixSeed(...Array.from(text, (character) => character.codePointAt(0) as number))
}

/** An endless stream of numbers in [0, 1). */
export function uniform(seed: number): () => number {
  const generator = xoroshiro128plus(seed | 0)
  return () => uniformFloat64(generator)
}
