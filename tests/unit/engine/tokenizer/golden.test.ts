/** Every tokenizer against ids and text recorded from the Rust library (scripts/golden/record_tokenizers.py). */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadTokenizer, type Tokenizer } from '../../../../src/engine/tokenizer'
import { dataFolder, diskFolder, memoryFolder } from '../../../support/folder'

interface Entry {
  vocabulary: number
  bos?: number | null
  eos?: number | null
  pad?: number | null
  tokenizer?: { decoder: unknown }
  rows: { ids: number[]; plain: number[] | null; text: string | null; shown: string | null }[]
  loose: { ids: number[]; text: string; shown: string | null }[]
}
const golden = JSON.parse(readFileSync(resolve(import.meta.dirname, '../../../golden/tokenizers.json'), 'utf8')) as {
  strings: string[]
  folders: Record<string, Entry>
  small: Record<string, Entry>
}

/** Streams ids as generation does. */
function streamed(tokenizer: Tokenizer, ids: readonly number[]): string {
  const stream = tokenizer.stream()
  const text = ids.map((id) => stream.push(id)).join('')
  return text + stream.end()
}

function check(tokenizer: Tokenizer, entry: Entry) {
  it('encodes every string to the same ids', { timeout: 30_000 }, () => {
    const wrong = golden.strings.flatMap((text, i) => {
      const { ids, plain } = entry.rows[i]!
      const got = [tokenizer.encode(text), tokenizer.encode(text, { addSpecialTokens: false })]
      return JSON.stringify(got) === JSON.stringify([ids, plain ?? ids]) ? [] : [{ text, ids, plain, got }]
    })
    expect(wrong).toEqual([])
  })

  it('decodes to the same text, in one go, piece by piece and streamed', { timeout: 30_000 }, () => {
    golden.strings.forEach((text, i) => {
      const row = entry.rows[i]!
      const plain = row.plain ?? row.ids
      const back = row.text ?? text
      expect(tokenizer.decode(plain)).toBe(back)
      expect(tokenizer.decode(row.ids, { skipSpecialTokens: true })).toBe(row.shown ?? back)
      expect(tokenizer.pieces(plain).join('')).toBe(back)
      expect(streamed(tokenizer, plain)).toBe(back)
    })
  })

  it('decodes ids in any order to the same text', { timeout: 30_000 }, () => {
    const fallback = JSON.stringify(entry.tokenizer?.decoder ?? 'ByteFallback').includes('ByteFallback')
    for (const { ids, text, shown } of entry.loose) {
      expect(tokenizer.decode(ids)).toBe(text)
      expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(shown ?? text)
      expect(tokenizer.pieces(ids).join('')).toBe(text)
      // With byte fallback a stream shows the good characters of a broken run, which decode as a whole may not.
      if (!fallback || !text.includes('\ufffd')) expect(streamed(tokenizer, ids)).toBe(text)
    }
  })
}

for (const [folder, entry] of Object.entries(golden.folders)) {
  const path = dataFolder(folder)
  describe.skipIf(!path)(folder, async () => {
    if (!path) return
    const tokenizer = await loadTokenizer(diskFolder(path))
    check(tokenizer, entry)
    it('knows its size and special tokens', () => {
      expect(tokenizer.vocabularySize).toBe(entry.vocabulary)
      expect(tokenizer.bosId).toBe(entry.bos)
      if (entry.eos !== null) expect(tokenizer.eosId).toBe(entry.eos)
      if (entry.pad !== null) expect(tokenizer.padId).toBe(entry.pad)
    })
  })
}

for (const [name, entry] of Object.entries(golden.small)) {
  describe(name, async () => {
    const tokenizer = await loadTokenizer(memoryFolder({ 'tokenizer.json': JSON.stringify(entry.tokenizer) }))
    check(tokenizer, entry)
    it('knows its size', () => expect(tokenizer.vocabularySize).toBe(entry.vocabulary))
  })
}
