/** Seeded damage to files: to their bytes, and to values inside JSON. Refuses to know what the files mean. */
import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'

const ODD_VALUES: readonly unknown[] = [null, true, false, 0, -1, 0.5, 1e308, 2 ** 53, 2 ** 31, '', 'x', '\u0000', '(a+)+$', [], [[]], {}, { a: 1 }, ['a', 1, null]] // prettier-ignore
const ODD_BYTES = [0, 1, 0x7f, 0x80, 0xff, 0x22, 0x7b, 0x7d, 0x2c, 0x5c]

export class Mutator {
  readonly #random: ReturnType<typeof xoroshiro128plus>

  constructor(seed: number) {
    this.#random = xoroshiro128plus(seed)
  }

  /** A whole number below `below`. */
  pick(below: number): number {
    return below <= 1 ? 0 : uniformInt(this.#random, 0, below - 1)
  }

  /** One to three changes among the first `within` bytes: set, insert, delete, repeat, cut off. */
  bytes(file: Uint8Array, within = file.length): Uint8Array {
    let out = Array.from(file)
    for (let n = this.pick(3); n >= 0; n--) {
      const at = this.pick(Math.min(out.length, within))
      const odd = this.pick(3) > 0 ? (ODD_BYTES[this.pick(ODD_BYTES.length)] as number) : this.pick(256)
      const kind = this.pick(12)
      if (kind < 7) out[at] = odd
      else if (kind === 7) out.splice(at, 0, odd)
      else if (kind === 8) out.splice(at, 1 + this.pick(9))
      else if (kind === 9) out.splice(at, 0, ...out.slice(at, at + 1 + this.pick(40)))
      else if (kind === 10) out = out.slice(0, at)
      else out.push(odd)
    }
    return Uint8Array.from(out)
  }

  /** A JSON text with one to three values, somewhere inside, replaced, removed, renamed or doubled. */
  json(text: string): string {
    const root = JSON.parse(text) as unknown
    for (let n = this.pick(3); n >= 0; n--) this.#damage(root)
    return JSON.stringify(root)
  }

  #damage(root: unknown): void {
    let place = root
    for (let depth = this.pick(5); ; depth--) {
      if (typeof place !== 'object' || place === null) return
      const holder = place as Record<string, unknown>
      const keys = Object.keys(holder)
      const key = keys[this.pick(keys.length)]
      if (key === undefined) return
      const inside = holder[key]
      if (depth > 0 && typeof inside === 'object' && inside !== null) {
        place = inside
        continue
      }
      const kind = this.pick(6)
      if (kind < 4) holder[key] = structuredClone(ODD_VALUES[this.pick(ODD_VALUES.length)])
      else if (kind === 4) delete holder[key]
      else holder[`${key}x`] = inside
      return
    }
  }
}
