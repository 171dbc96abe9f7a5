/** Finds characters that a tokenizer cannot carry: those that do not come back from their tokens. Refuses to test one twice. */
import type { Tokenizer } from '../../engine/tokenizer'

export class CharacterCheck {
  readonly #tokenizer: Tokenizer
  readonly #known = new Map<string, boolean>()

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer
  }

  /** The characters of a text that get lost, each once. */
  lost(text: string): string[] {
    const lost = new Set<string>()
    for (const character of text) if (!this.#carries(character)) lost.add(character)
    return [...lost]
  }

  #carries(character: string): boolean {
    let carried = this.#known.get(character)
    if (carried === undefined) {
      carried = character.trim() === '' || this.#comesBack(character)
      this.#known.set(character, carried)
    }
    return carried
  }

  /** Normalisers may change a character's form and case, and tokenizers put a space before a word. */
  #comesBack(character: string): boolean {
    const ids = this.#tokenizer.encode(character, { addSpecialTokens: false })
    const back = this.#tokenizer.decode(ids).trim()
    const fold = (text: string) => text.normalize('NFKD').toLowerCase()
    return back !== '' && (back === character || fold(character).includes(fold(back)) || fold(back) === fold(character))
  }
}
