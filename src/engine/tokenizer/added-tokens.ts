/**
 * Finds added and special tokens in text before anything else looks at it: leftmost, then longest, with single_word, lstrip and rstrip
 * as the Rust library has them. Refuses to know anything about the vocabulary.
 */

/** An entry of `added_tokens`. */
export interface AddedToken {
  id: number
  content: string
  single_word: boolean
  lstrip: boolean
  rstrip: boolean
  /** Looked for in the normalised text rather than in the text as it stands. */
  normalized: boolean
  special: boolean
}

/** A stretch of text, or the added token that was found there. */
export type Section = { text: string; token: null } | { text: string; token: AddedToken }

interface Node {
  next: Map<string, Node>
  token: AddedToken | null
}

const WORD_START = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u
const WORD_END = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u
const SPACE = /\p{White_Space}/u

/** Splits text at the tokens given; `spelling` says how a token is written in the text (normalised or not). */
export class AddedTokenSplitter {
  private readonly root: Node = { next: new Map(), token: null }
  private readonly empty: boolean

  constructor(tokens: readonly AddedToken[], spelling: (token: AddedToken) => string) {
    this.empty = tokens.length === 0
    for (const token of tokens) {
      let node = this.root
      for (const unit of units(spelling(token))) {
        let child = node.next.get(unit)
        if (!child) node.next.set(unit, (child = { next: new Map(), token: null }))
        node = child
      }
      if (node !== this.root) node.token ??= token
    }
  }

  split(text: string): Section[] {
    if (this.empty) return text ? [{ text, token: null }] : []
    const out: Section[] = []
    let done = 0
    let at = 0
    while (at < text.length) {
      const found = this.longestAt(text, at)
      if (!found) {
        at++
        continue
      }
      const { token } = found
      let start = at
      let end = at + found.length
      at = end
      if (token.single_word && (WORD_END.test(before(text, start)) || WORD_START.test(text.slice(end, end + 2))))
        continue
      if (token.lstrip) while (start > done && SPACE.test(text[start - 1]!)) start--
      if (token.rstrip) while (end < text.length && SPACE.test(text[end]!)) end++
      if (start > done) out.push({ text: text.slice(done, start), token: null })
      out.push({ text: text.slice(start, end), token })
      done = end
      at = Math.max(at, end)
    }
    if (done < text.length) out.push({ text: text.slice(done), token: null })
    return out
  }

  private longestAt(text: string, start: number): { token: AddedToken; length: number } | null {
    let node: Node | undefined = this.root
    let best: { token: AddedToken; length: number } | null = null
    for (let i = start; i < text.length; i++) {
      node = node.next.get(text[i]!)
      if (!node) break
      if (node.token) best = { token: node.token, length: i + 1 - start }
    }
    return best
  }
}

/** UTF-16 units, as the search walks them. */
function* units(text: string): Generator<string> {
  for (let i = 0; i < text.length; i++) yield text[i]!
}

/** The character before `end`, whole where it takes two units. */
function before(text: string, end: number): string {
  return String.fromCodePoint(...[...text.slice(Math.max(0, end - 2), end)].slice(-1).map((c) => c.codePointAt(0)!))
}
