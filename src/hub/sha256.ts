/**
 * SHA-256 of bytes that come piece by piece: WebCrypto wants them all at once, which a large model is too large for.
 * Refuses secrets: it is not constant-time. (FIPS 180-4)
 */

const K = new Uint32Array(64)
const INITIAL = new Uint32Array(8)

// The constants are the fractions of the cube and square roots of the first primes, exact in a double to 32 bits and more.
for (let candidate = 2, found = 0; found < 64; candidate++) {
  let prime = true
  for (let divisor = 2; divisor * divisor <= candidate; divisor++) if (candidate % divisor === 0) prime = false
  if (!prime) continue
  const fraction = (root: number) => ((root - Math.floor(root)) * 2 ** 32) >>> 0
  if (found < 8) INITIAL[found] = fraction(Math.sqrt(candidate))
  K[found++] = fraction(Math.cbrt(candidate))
}

export class Sha256 {
  readonly #state = INITIAL.slice()
  readonly #schedule = new Uint32Array(64)
  readonly #block = new Uint8Array(64)
  readonly #view = new DataView(this.#block.buffer)
  #filled = 0
  #length = 0

  update(bytes: Uint8Array): this {
    this.#length += bytes.length
    let at = 0
    while (at < bytes.length) {
      const take = Math.min(64 - this.#filled, bytes.length - at)
      if (take === 64) {
        this.#compress(new DataView(bytes.buffer, bytes.byteOffset + at, 64))
      } else {
        this.#block.set(bytes.subarray(at, at + take), this.#filled)
        this.#filled += take
        if (this.#filled === 64) {
          this.#compress(this.#view)
          this.#filled = 0
        }
      }
      at += take
    }
    return this
  }

  /** The digest in hex; nothing may be added afterwards. */
  hex(): string {
    const bits = this.#length * 8
    const padding = new Uint8Array((this.#filled < 56 ? 56 : 120) - this.#filled + 8)
    padding[0] = 0x80
    const view = new DataView(padding.buffer)
    view.setUint32(padding.length - 8, Math.floor(bits / 2 ** 32))
    view.setUint32(padding.length - 4, bits >>> 0)
    this.update(padding)
    return Array.from(this.#state, (word) => word.toString(16).padStart(8, '0')).join('')
  }

  #compress(block: DataView): void {
    const w = this.#schedule
    for (let i = 0; i < 16; i++) w[i] = block.getUint32(4 * i)
    for (let i = 16; i < 64; i++) {
      const [x, y] = [w[i - 15] as number, w[i - 2] as number]
      const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3)
      const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10)
      w[i] = ((w[i - 16] as number) + s0 + (w[i - 7] as number) + s1) | 0
    }
    const h = this.#state
    let a = h[0] as number
    let b = h[1] as number
    let c = h[2] as number
    let d = h[3] as number
    let e = h[4] as number
    let f = h[5] as number
    let g = h[6] as number
    let last = h[7] as number
    for (let i = 0; i < 64; i++) {
      const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7))
      const t1 = (last + s1 + ((e & f) ^ (~e & g)) + (K[i] as number) + (w[i] as number)) | 0
      const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10))
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0
      last = g
      g = f
      f = e
      e = (d + t1) | 0
      d = c
      c = b
      b = a
      a = (t1 + t2) | 0
    }
    // Spelt out, like the reads above: an array and its iterator a block would take most of the time.
    h[0] = (h[0] as number) + a
    h[1] = (h[1] as number) + b
    h[2] = (h[2] as number) + c
    h[3] = (h[3] as number) + d
    h[4] = (h[4] as number) + e
    h[5] = (h[5] as number) + f
    h[6] = (h[6] as number) + g
    h[7] = (h[7] as number) + last
  }
}
