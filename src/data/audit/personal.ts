/**
 * Finds personal data and secrets in text, and masks them. Refuses digits that only look like a card or an account: those must pass
 * their checksum.
 */

import type { PersonalKind } from '../../shared/audit'
export type { PersonalKind }

interface PersonalSpan {
  kind: PersonalKind
  start: number
  end: number
}

const PERSONAL_KINDS: readonly PersonalKind[] = ['email', 'phone', 'card', 'iban', 'key']

const EMAIL =
  /(?<![\p{L}\p{N}._%+-])[\p{L}\p{N}_%+-][\p{L}\p{N}._%+-]*@(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]*[\p{L}\p{N}])?\.)+\p{L}{2,24}(?![\p{L}\p{N}])/gu
const IBAN = /(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])/g
const CARD = /(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)/g
const PHONES = [
  /(?<![\w.+])\+\d{1,3}(?:[ .-]?\(\d{1,4}\))?(?:[ .-]?\d{1,4}){2,6}(?!\w)/g,
  /(?<![\w.+-])(?:1[ .-])?\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?![\w-])/g,
  /(?<![\w.+-])0\d{1,4}(?:[ /-]\d{2,8}){1,4}(?![\w-])/g,
]
/** Shapes that services give to their secrets. */
const KEYS = [
  /(?<![\w-])sk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,}/g,
  /(?<!\w)(?:AKIA|ASIA)[A-Z0-9]{16}(?!\w)/g,
  /(?<!\w)gh[pousr]_[A-Za-z0-9]{36,}/g,
  /(?<!\w)github_pat_[A-Za-z0-9_]{40,}/g,
  /(?<!\w)hf_[A-Za-z0-9]{30,}/g,
  /(?<!\w)AIza[A-Za-z0-9_-]{35}/g,
  /(?<!\w)xox[abprs]-[A-Za-z0-9-]{10,}/g,
  /(?<!\w)[rs]k_(?:live|test)_[A-Za-z0-9]{20,}/g,
  /(?<![\w.-])eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}/g,
  /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g,
]

/** Every piece of personal data in a text, in order and without overlaps. */
export function findPersonal(text: string): PersonalSpan[] {
  // A glance first: most texts have neither an at sign nor so many digits.
  const spans: PersonalSpan[] = []
  const claim = (kind: PersonalKind, pattern: RegExp, holds: (found: string) => boolean = () => true) => {
    for (const match of text.matchAll(pattern)) {
      const start = match.index
      const end = start + match[0].length
      if (spans.some((span) => start < span.end && end > span.start) || !holds(match[0])) continue
      spans.push({ kind, start, end })
    }
  }
  for (const pattern of KEYS) claim('key', pattern)
  if (text.includes('@')) claim('email', EMAIL)
  if (/\d{2}/.test(text)) {
    claim('iban', IBAN, isIban)
    claim('card', CARD, isCard)
    for (const pattern of PHONES) claim('phone', pattern, isPhone)
  }
  return spans.sort((a, b) => a.start - b.start)
}

/** The text with every such piece replaced by its kind in square brackets. */
export function maskPersonal(text: string, kinds: readonly PersonalKind[] = PERSONAL_KINDS): string {
  let masked = ''
  let at = 0
  for (const span of findPersonal(text)) {
    if (!kinds.includes(span.kind)) continue
    masked += `${text.slice(at, span.start)}[${span.kind}]`
    at = span.end
  }
  return masked + text.slice(at)
}

/** ISO 7812: the digits from the right, every second one doubled, add up to a multiple of ten. */
export function isCard(text: string): boolean {
  const digits = text.replace(/\D/g, '')
  if (digits.length < 13 || digits.length > 19 || /^(\d)\1+$/.test(digits) || !/^[2-6]/.test(digits)) return false
  let sum = 0
  for (let i = 0; i < digits.length; i++) {
    const digit = Number(digits[digits.length - 1 - i])
    sum += i % 2 ? (digit > 4 ? digit * 2 - 9 : digit * 2) : digit
  }
  return sum % 10 === 0
}

/** ISO 13616: with the first four characters at the end and letters as numbers, the remainder by 97 is 1. */
export function isIban(text: string): boolean {
  const compact = text.replaceAll(' ', '')
  if (compact.length < 15 || compact.length > 34) return false
  let remainder = 0
  for (const c of compact.slice(4) + compact.slice(0, 4)) {
    const value = c >= 'A' ? c.charCodeAt(0) - 55 : Number(c)
    remainder = (remainder * (value > 9 ? 100 : 10) + value) % 97
  }
  return remainder === 1
}

/** 9 to 15 digits (E.164) that are no date. */
function isPhone(text: string): boolean {
  const digits = text.replace(/\D/g, '')
  return digits.length >= 9 && digits.length <= 15 && !/^\d{2,4}[-/. ]\d{2}[-/. ]\d{2,4}$/.test(text)
}
