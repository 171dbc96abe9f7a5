/** A clean dataset of invented sentences, and the faults to plant in it. Refuses chance that a seed does not fix. */
import { seededIntegers } from '../../../src/data/batch/random'

export interface Row extends Record<string, unknown> {
  prompt: string
  completion: string
}

const WORDS =
  'river stone winter garden letter window market bridge engine silver forest candle harbour mountain pocket thunder basket copper meadow lantern school kitchen shadow island ribbon hammer orchard blanket compass village feather cellar mirror needle pepper saddle tunnel velvet whistle anchor button cotton dragon falcon guitar hollow insect jacket kettle ladder magnet nephew oyster parcel quarry rocket salmon teapot umbrella violin walnut yellow zebra bright calm deep early fresh gentle heavy honest idle jolly kind large merry narrow old proud quick rough sharp tall useful vast warm young carries follows gathers holds invites joins keeps leaves mends notices opens paints reaches sells teaches uncovers visits washes yields answers builds climbs draws enters finds grows hears imagines jumps knows likes makes needs offers plays quits rests sings turns understands wants above across after against along among around before behind below beneath beside between beyond during inside near outside over through toward under until upon within without already always sometimes never often rarely soon today tomorrow yesterday perhaps quietly slowly suddenly together'.split(
    ' ',
  )

export class Planter {
  readonly below: (limit: number) => number

  constructor(seed: number) {
    this.below = seededIntegers(seed)
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T
  }

  sentence(words: number): string {
    const text = Array.from({ length: words }, () => this.pick(WORDS)).join(' ')
    return text.charAt(0).toUpperCase() + text.slice(1)
  }

  row(): Row {
    return {
      prompt: `${this.sentence(8 + this.below(10))}?`,
      completion: `${this.sentence(12 + this.below(15))}. ${this.sentence(8)}.`,
    }
  }

  /** A row that says the same with one small change. */
  nearly(row: Row): Row {
    const words = row.completion.split(' ')
    const at = 1 + this.below(words.length - 2)
    switch (this.below(6)) {
      case 0:
        return { ...row, prompt: row.prompt.toUpperCase(), completion: row.completion.replace('.', '!') }
      case 1:
        return { prompt: `Please: ${row.prompt}`, completion: row.completion }
      case 2:
        return { prompt: `${row.prompt} `, completion: words.with(at, this.pick(WORDS)).join(' ') }
      case 3:
        return { prompt: row.prompt.replace('?', ' ?'), completion: words.toSpliced(at, 1).join(' ') }
      case 4:
        return { prompt: row.prompt.replace(/[aeiou](?=\w*\?)/, 'x'), completion: row.completion }
      default:
        return { prompt: ` ${row.prompt}`, completion: words.toSpliced(at, 0, this.pick(WORDS)).join(' ') }
    }
  }

  digits(count: number): string {
    return Array.from({ length: count }, () => this.below(10)).join('')
  }

  card(): string {
    const start = this.pick(['4', '51', '37', '6011']) + this.digits(10)
    const digits = start.padEnd(15, '3').slice(0, 15)
    const check = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].find((last) => luhn(`${digits}${last}`)) as number
    const whole = `${digits}${check}`
    return this.below(2) ? whole : (whole.match(/.{4}/g) as string[]).join(this.pick([' ', '-']))
  }

  iban(): string {
    const body = `50010517${this.digits(10)}`
    const remainder = Number(BigInt(`${body}131400`) % 97n)
    const whole = `DE${String(98 - remainder).padStart(2, '0')}${body}`
    return this.below(2) ? whole : (whole.match(/.{1,4}/g) as string[]).join(' ')
  }

  key(): string {
    const text = (length: number) =>
      Array.from({ length }, () => this.pick([...'ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789'])).join('')
    return this.pick([
      `sk-proj-${text(40)}`,
      `AKIA${text(16).toUpperCase()}`,
      `ghp_${text(36)}`,
      `hf_${text(34)}`,
      `eyJ${text(20)}.${text(30)}.${text(25)}`,
    ])
  }

  email(): string {
    return `${this.pick(WORDS)}.${this.pick(WORDS)}${this.below(90)}@${this.pick(WORDS)}.${this.pick(['com', 'org', 'co.uk', 'de'])}`
  }

  phone(): string {
    return this.pick([
      `+49 ${this.digits(3)} ${this.digits(7)}`,
      `+1-${2 + this.below(8)}${this.digits(2)}-${this.digits(3)}-${this.digits(4)}`,
      `(${2 + this.below(8)}${this.digits(2)}) ${this.digits(3)}-${this.digits(4)}`,
      `079 ${this.digits(3)} ${this.digits(2)} ${this.digits(2)}`,
      `+41${this.digits(9)}`,
    ])
  }

  /** Numbers and signs that are none of these. */
  harmless(): string {
    const digits = `4${this.digits(14)}`
    const wrong = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].find((last) => !luhn(`${digits}${last}`)) as number
    return this.pick([
      `on 2024-0${1 + this.below(9)}-1${this.below(10)} at 10:30`,
      `order ${digits}${wrong}`,
      `version 3.${this.below(20)}.${this.below(20)}`,
      `at 192.168.${this.below(255)}.${this.below(255)}`,
      `for $${this.digits(3)},${this.digits(3)}.99`,
      `see @${this.pick(WORDS)} and #${this.pick(WORDS)}`,
      `pi is 3.14159265358979`,
      `in 1,000,000 of 7,800,000,000`,
      `account DE00${this.digits(18)}`,
      `id ${this.digits(6)}-${this.digits(2)}`,
    ])
  }
}

function luhn(digits: string): boolean {
  const sum = [...digits].reverse().reduce((total, digit, i) => {
    const value = Number(digit) * (i % 2 ? 2 : 1)
    return total + (value > 9 ? value - 9 : value)
  }, 0)
  return sum % 10 === 0
}
