/**
 * Finds texts that are nearly the same among many: MinHash signatures in bands find candidates, the shared five-letter pieces decide.
 * Refuses pairs whose numbers differ: "12 + 7" is not nearly "12 + 8".
 */

/** Share of common pieces (Jaccard) from which two texts are nearly the same. */
const NEARLY = 0.8
const PIECE = 5
/** 24 bands of 4: a pair at 0.8 is found with a probability above 99.9%, one at 0.3 looked at in 18% of cases. */
const BANDS = 24
const ROWS = 4
const BINS = BANDS * ROWS
/** Texts of one band that are compared: beyond this a band says nothing, because a template repeats. */
const CROWD = 64

interface Near {
  /** The earlier text. */
  of: number
  /** Jaccard similarity, 0.8 to 1. */
  similarity: number
}

/** Texts one after the other; each is compared with all before it. */
export class NearIndex {
  readonly #texts: string[] = []
  /** The low halves of the signatures, for a quick estimate before texts are compared. */
  readonly #sketches: Uint16Array[] = []
  readonly #bands = Array.from({ length: BANDS }, () => new Map<number, number[]>())

  /** Adds a text and returns the most similar one before it, if one is nearly the same. */
  add(text: string): Near | undefined {
    const plain = normalise(text)
    const id = this.#texts.push(plain) - 1
    if (plain.length < 3 * PIECE) return undefined
    const signature = signatureOf(plain)
    const near = this.#nearest(plain, signature)
    this.#sketches[id] = Uint16Array.from(signature)
    this.#bands.forEach((map, band) => {
      const key = bandKey(signature, band)
      const others = map.get(key)
      if (!others) map.set(key, [id])
      else if (others.length < CROWD) others.push(id)
    })
    return near
  }

  /** The most similar text, if one is nearly the same; the text itself is not added. */
  find(text: string): Near | undefined {
    const plain = normalise(text)
    return plain.length < 3 * PIECE ? undefined : this.#nearest(plain, signatureOf(plain))
  }

  #nearest(plain: string, signature: Uint32Array): Near | undefined {
    const sketch = Uint16Array.from(signature)
    const seen = new Set<number>()
    let best: Near | undefined
    let pieces: Set<number> | undefined
    let numbers: string | undefined
    for (let band = 0; band < BANDS; band++) {
      for (const other of this.#bands[band]?.get(bandKey(signature, band)) ?? []) {
        if (seen.has(other)) continue
        seen.add(other)
        if (agreement(sketch, this.#sketches[other] as Uint16Array) < NEARLY - 0.2) continue
        const candidate = this.#texts[other] as string
        if (Math.min(candidate.length, plain.length) < NEARLY * 0.9 * Math.max(candidate.length, plain.length)) continue
        pieces ??= new Set(piecesOf(plain))
        const similarity = jaccard(pieces, candidate)
        if (similarity < NEARLY || similarity <= (best?.similarity ?? 0)) continue
        numbers ??= numbersOf(plain)
        if (numbersOf(candidate) === numbers) best = { of: other, similarity }
      }
    }
    return best
  }
}

/** Lower case, without accents, punctuation and extra white space. */
export function normalise(text: string): string {
  return text
    .normalize('NFKD')
    .toLowerCase()
    .replace(/\p{M}+/gu, '')
    .replace(/[^\p{L}\p{N}]+/gu, ' ')
    .trim()
}

function numbersOf(text: string): string {
  return (text.match(/\p{N}+/gu) ?? []).sort().join(' ')
}

/** Fingerprints of all pieces of five characters (32 bits, murmur-like). */
function* piecesOf(text: string): Generator<number> {
  for (let i = 0; i + PIECE <= text.length; i++) yield pieceAt(text, i)
}

function pieceAt(text: string, start: number): number {
  let h = 0x2f0b4f
  for (let k = 0; k < PIECE; k++) h = Math.imul(h ^ text.charCodeAt(start + k), 0x5bd1e995)
  h ^= h >>> 15
  h = Math.imul(h, 0x2c1b3c6d)
  h ^= h >>> 12
  h = Math.imul(h, 0x297a2d39)
  return (h ^ (h >>> 15)) >>> 0
}

/** One-permutation MinHash: the smallest fingerprint in each bin; empty bins borrow from others in a fixed order. */
function signatureOf(text: string): Uint32Array {
  const least = new Uint32Array(BINS).fill(0xffffffff)
  for (let i = 0; i + PIECE <= text.length; i++) {
    const piece = pieceAt(text, i)
    const bin = piece % BINS
    if (piece < (least[bin] as number)) least[bin] = piece
  }
  const filled = least.slice()
  for (let bin = 0; bin < BINS; bin++) {
    for (let attempt = 1; filled[bin] === 0xffffffff; attempt++) {
      const from = (Math.imul(bin * 131 + attempt, 0x9e3779b1) >>> 8) % BINS
      filled[bin] = attempt > 4 * BINS ? 0 : (least[from] as number)
    }
  }
  return filled
}

function bandKey(signature: Uint32Array, band: number): number {
  let h = band
  for (let row = 0; row < ROWS; row++)
    h = Math.imul(h ^ (signature[band * ROWS + row] as number), 0x85ebca6b) ^ (h >>> 13)
  return h >>> 0
}

/** Share of equal places: an estimate of the similarity, good to about 0.1. */
function agreement(a: Uint16Array, b: Uint16Array): number {
  let equal = 0
  for (let i = 0; i < BINS; i++) if (a[i] === b[i]) equal++
  return equal / BINS
}

function jaccard(a: ReadonlySet<number>, other: string): number {
  const b = new Set(piecesOf(other))
  let common = 0
  for (const piece of b) if (a.has(piece)) common++
  return common / (a.size + b.size - common)
}
