/** Short fingerprints of texts and rows. Refuses to be cryptographic. */
import type { EncodedRow } from '../shared/records'

/** A 53-bit fingerprint (cyrb53, public domain): two texts of a dataset share one with odds of about 1 in 10^10 a million rows. */
export function fingerprint(text: string, seed = 0): number {
  let low = 0xdeadbeef ^ seed
  let high = 0x41c6ce57 ^ seed
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    low = Math.imul(low ^ unit, 2654435761)
    high = Math.imul(high ^ unit, 1597334677)
  }
  low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909)
  high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909)
  return 4294967296 * (2097151 & high) + (low >>> 0)
}

/** A fingerprint of rows as they are trained on, in their order: every token, and which of them count in the loss. */
export function fingerprintRows(...sets: readonly (readonly EncodedRow[])[]): string {
  let low = 0xdeadbeef
  let high = 0x41c6ce57
  const add = (word: number): void => {
    low = Math.imul(low ^ word, 2654435761)
    low ^= low >>> 15
    high = Math.imul(high ^ word, 1597334677)
    high ^= high >>> 13
  }
  for (const set of sets) {
    add(set.length)
    for (const { inputIds, labels } of set) {
      for (const words of [inputIds, labels]) {
        add(words.length)
        for (let i = 0; i < words.length; i++) add(words[i] as number)
      }
    }
  }
  return [low, high].map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('')
}
