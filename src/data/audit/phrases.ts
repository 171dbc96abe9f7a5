/** Placeholders, refusals, licence notes and repeated phrases in texts. Refuses to judge what is said otherwise. */
import { fingerprint } from '../hash'

const PLACEHOLDERS = [
  /\{\{\s*[\w .-]+\s*\}\}/,
  /\[(?:your|insert|add|enter|name|company|date|placeholder|todo)\b[^\]\n]{0,40}\]/i,
  /<(?:your|insert|placeholder|todo)\b[^>\n]{0,40}>/i,
  /\blorem ipsum\b/i,
  /\bTODO\b|\bTBD\b|\bFIXME\b|\bXXX+\b/,
  /^\s*(?:n\/a|null|none|nan|undefined|\.{3}|-+|\?+)\s*$/i,
]
const REFUSALS = [
  /\bas an? (?:ai|artificial intelligence|language model|large language model)\b/i,
  /^\W*(?:i(?:['’]?m| am) (?:really |very |so )?sorry|sorry|i apologi[sz]e|unfortunately),?\s+(?:but\s+)?(?:i|as an)\b/i,
  /\bi (?:cannot|can ?not|can't|am unable to|'m unable to|am not able to|won't be able to) (?:help|assist|provide|fulfil|fulfill|answer|do that|comply|generate|create|complete)\b/i,
  /作为(?:一个|一名)?(?:人工智能|AI|语言模型)/i,
]

const LICENCES = [
  /(?:©|\bcopyright\b|\(c\) ?copyright)\s*(?:\(c\)|©)?\s*(?:by\s+)?(?:19|20)\d{2}\b[^\n]{0,40}/i,
  /\ball rights reserved\b/i,
  /\bcreative commons\b|\bCC[- ]BY(?:-(?:NC|SA|ND))*\b/i,
  /\bSPDX-License-Identifier\b|\bGNU (?:Lesser |Affero )?General Public License\b|\b(?:Apache|MIT|BSD) Licen[sc]e\b/,
]

/** The copyright or licence note that a text carries; undefined where there is none. */
export function licenceIn(text: string): string | undefined {
  for (const pattern of LICENCES) {
    const match = pattern.exec(text)
    if (match) return match[0].trim().slice(0, 60)
  }
  return undefined
}

/** The placeholder that a text still holds; undefined where there is none. */
export function placeholderIn(text: string): string | undefined {
  for (const pattern of PLACEHOLDERS) {
    const match = pattern.exec(text)
    if (match) return match[0].trim().slice(0, 40)
  }
  return undefined
}

/** Whether an answer declines to answer. */
export function isRefusal(text: string): boolean {
  const head = text.slice(0, 400)
  return REFUSALS.some((pattern) => pattern.test(head))
}

const OPENING_WORDS = 5

/** Counts how answers begin and end, to find phrases that repeat in many rows. */
export class PhraseCounter {
  readonly #seen = new Map<number, { text: string; rows: number }>()
  #rows = 0

  /** Adds an answer; short ones (labels) have no phrases. */
  add(answer: string): void {
    this.#rows++
    for (const phrase of phrasesOf(answer)) {
      const key = fingerprint(phrase)
      const entry = this.#seen.get(key)
      if (entry) entry.rows++
      else this.#seen.set(key, { text: phrase, rows: 1 })
    }
  }

  /** Phrases of at least ten rows and a twentieth of all, the commonest first. */
  common(): { text: string; rows: number }[] {
    const least = Math.max(10, this.#rows / 20)
    return [...this.#seen.values()]
      .filter((entry) => entry.rows >= least)
      .sort((a, b) => b.rows - a.rows)
      .slice(0, 20)
  }
}

/** The first words and the last sentence of an answer that is long enough to have both. */
export function phrasesOf(answer: string): string[] {
  const words = answer.trim().split(/\s+/)
  if (words.length < 3 * OPENING_WORDS) return []
  const opening = words.slice(0, OPENING_WORDS).join(' ')
  const sentences = answer.trim().split(/(?<=[.!?。！？])\s+/)
  const last = sentences.length > 1 ? (sentences.at(-1) ?? '').trim() : ''
  return last.split(/\s+/).length >= 3 ? [opening, last] : [opening]
}
