/** Tokenizers as a whole: streaming, round trips of random text, special tokens, and folders that are wrong. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { uniformInt } from 'pure-rand/distribution/uniformInt'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
import { describe, expect, it } from 'vitest'
import { loadTokenizer } from '../../../../src/engine/tokenizer'
import { CodedError } from '../../../../src/shared/errors'
import { dataFolder, diskFolder, memoryFolder } from '../../../support/folder'

const { small } = JSON.parse(readFileSync(resolve(import.meta.dirname, '../../../golden/tokenizers.json'), 'utf8')) as {
  small: Record<string, { tokenizer: Record<string, unknown> }>
}
const BYTE_LEVEL = small['byte-level, Llama 3 pattern, template']!.tokenizer
const load = (files: Record<string, unknown>) =>
  loadTokenizer(
    memoryFolder(
      Object.fromEntries(
        Object.entries(files).map(([name, value]) => [name, typeof value === 'string' ? value : JSON.stringify(value)]),
      ),
    ),
  )

/** Random text from every corner of Unicode, seeded. */
function* randomTexts(count: number): Generator<string> {
  const random = xoroshiro128plus(99)
  const pick = (below: number) => uniformInt(random, 0, below - 1)
  const ranges = [
    [32, 126],
    [32, 126],
    [97, 122],
    [9, 13],
    [0xa0, 0x24f],
    [0x370, 0x5ff],
    [0x900, 0xdff],
    [0x2000, 0x206f],
    [0x3040, 0x30ff],
    [0x4e00, 0x9fff],
    [0xac00, 0xd7a3],
    [0x1f300, 0x1faff],
  ] as const
  for (let i = 0; i < count; i++) {
    let text = ''
    for (let n = pick(40); n >= 0; n--) {
      const [from, to] = ranges[pick(ranges.length)]!
      text += String.fromCodePoint(from + pick(to - from + 1))
    }
    yield text
  }
}

describe('random text', () => {
  for (const folder of ['tokenizers/gpt2', 'tokenizers/smollm-135m', 'tokenizers/maykeye-tinyllama-v0']) {
    const path = dataFolder(folder)
    it.skipIf(!path)(`comes back from ${folder}, whole, in pieces and streamed`, { timeout: 60_000 }, async () => {
      const tokenizer = await loadTokenizer(diskFolder(path!))
      for (const text of randomTexts(300)) {
        const ids = tokenizer.encode(text, { addSpecialTokens: false })
        expect(tokenizer.decode(ids)).toBe(text)
        const stream = tokenizer.stream()
        const parts = ids.map((id) => stream.push(id))
        expect(stream.end()).toBe('')
        expect(parts.join('')).toBe(text)
        expect(parts.some((part) => part.includes('\ufffd'))).toBe(false)
        expect(tokenizer.pieces(ids)).toEqual(parts)
        expect(Math.max(-1, ...ids)).toBeLessThan(tokenizer.vocabularySize)
      }
    })
  }
})

describe('streaming', () => {
  it('holds a character back until its last byte is there', async () => {
    const tokenizer = await load({ 'tokenizer.json': BYTE_LEVEL })
    const ids = tokenizer.encode('a😀b', { addSpecialTokens: false })
    const stream = tokenizer.stream()
    const parts = ids.map((id) => stream.push(id))
    expect(parts).toEqual(['a', '', '', '', '😀', 'b'])
    expect(tokenizer.pieces(ids)).toEqual(parts)
  })

  it('shows a replacement character for one that never ends', async () => {
    const tokenizer = await load({ 'tokenizer.json': BYTE_LEVEL })
    const ids = tokenizer.encode('a😀', { addSpecialTokens: false }).slice(0, 3)
    const stream = tokenizer.stream()
    expect(ids.map((id) => stream.push(id)).join('')).toBe('a')
    expect(stream.end()).toBe('\ufffd')
    expect(tokenizer.decode(ids)).toBe('a\ufffd')
    expect(tokenizer.pieces(ids)).toEqual(['a', '', '\ufffd'])
  })

  it('leaves special tokens out where asked, and ids that do not exist always', async () => {
    const tokenizer = await load({ 'tokenizer.json': BYTE_LEVEL })
    const ids = [...tokenizer.encode('hi'), 99_999, -1]
    expect(tokenizer.decode(ids)).toBe('<|begin|>hi<|end|>')
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe('hi')
    const stream = tokenizer.stream({ skipSpecialTokens: true })
    expect(ids.map((id) => stream.push(id)).join('') + stream.end()).toBe('hi')
    expect(tokenizer.pieces(ids)).toHaveLength(ids.length)
  })
})

describe('special tokens', () => {
  const named = (file: Record<string, unknown>, name = 'tokenizer_config.json') =>
    load({ 'tokenizer.json': BYTE_LEVEL, [name]: file })

  it('takes names from tokenizer_config.json, then special_tokens_map.json, then ids from config.json', async () => {
    const config = { 'config.json': { bos_token_id: 5, eos_token_id: [7, 8], pad_token_id: 9 } }
    const map = { 'special_tokens_map.json': { bos_token: { content: '<|end|>' }, eos_token: '<|begin|>' } }
    const main = { 'tokenizer_config.json': { bos_token: '<|begin|>', eos_token: null } }
    const ids = async (files: Record<string, unknown>) => {
      const { bosId, eosId, padId } = await load({ 'tokenizer.json': BYTE_LEVEL, ...files })
      return [bosId, eosId, padId]
    }
    expect(await ids({})).toEqual([null, null, null])
    expect(await ids(config)).toEqual([5, 7, 9])
    expect(await ids({ ...config, ...map })).toEqual([1, 0, 9])
    expect(await ids({ ...config, ...map, ...main })).toEqual([0, 0, 9])
  })

  it('knows every id that ends an answer', async () => {
    const files = {
      'tokenizer.json': BYTE_LEVEL,
      'tokenizer_config.json': { eos_token: '<|end|>' },
      'config.json': { eos_token_id: 0 },
      'generation_config.json': { eos_token_id: [1, 5, 100_000] },
    }
    expect([...(await load(files)).endIds]).toEqual([1, 0, 5])
  })

  it('does as add_bos_token and add_eos_token say', async () => {
    const names = { bos_token: '<|begin|>', eos_token: '<|end|>' }
    const around = async (adds: Record<string, unknown>) => (await named({ ...names, ...adds })).encode('')
    expect(await around({})).toEqual([0, 1])
    expect(await around({ add_bos_token: true })).toEqual([0])
    expect(await around({ add_eos_token: true })).toEqual([1])
    expect(await around({ add_bos_token: false, add_eos_token: false })).toEqual([])
  })

  it('adds tokens that only tokenizer_config.json or added_tokens.json know', async () => {
    const decoder = { 400: { content: '<extra>', special: true } }
    const tokenizer = await load({
      'tokenizer.json': BYTE_LEVEL,
      'tokenizer_config.json': { added_tokens_decoder: decoder },
      'added_tokens.json': { '<more>': 401 },
    })
    expect(tokenizer.encode('<extra><more>', { addSpecialTokens: false })).toEqual([400, 401])
    expect(tokenizer.vocabularySize).toBe(402)
    expect([tokenizer.specialIds.has(400), tokenizer.specialIds.has(401)]).toEqual([true, false])
    expect([tokenizer.tokenOf(401), tokenizer.idOf('<extra>'), tokenizer.idOf('no')]).toEqual([
      '<more>',
      400,
      undefined,
    ])
  })

  it('ignores truncation and padding that a file asks for', async () => {
    const greedy = { ...BYTE_LEVEL, truncation: { max_length: 2 }, padding: { strategy: { Fixed: 192 }, pad_id: 0 } }
    const text = 'a long text that is not cut'
    expect((await load({ 'tokenizer.json': greedy })).encode(text)).toEqual(
      (await load({ 'tokenizer.json': BYTE_LEVEL })).encode(text),
    )
  })
})

describe('folders that are wrong', () => {
  const model = BYTE_LEVEL.model as Record<string, unknown>
  it.each<[string, Record<string, unknown>]>([
    ['no tokenizer', { 'config.json': '{}' }],
    ['a SentencePiece file only', { 'tokenizer.model': 'x' }],
    ['a vocabulary without merges', { 'vocab.json': { a: 0 } }],
    ['a vocabulary that is not byte-level', { 'vocab.json': { a: 0 }, 'merges.txt': '' }],
    ['not JSON', { 'tokenizer.json': '{' }],
    ['a list', { 'tokenizer.json': '[]' }],
    ['not UTF-8', { 'tokenizer.json': BYTE_LEVEL, 'tokenizer_config.json': '{"a": "' }],
    ['no model', { 'tokenizer.json': {} }],
    ['an empty vocabulary', { 'tokenizer.json': { model: { type: 'BPE', vocab: {}, merges: [] } } }],
    ['no vocabulary', { 'tokenizer.json': { model: { type: 'BPE', merges: [] } } }],
    ['merges in words', { 'tokenizer.json': { model: { type: 'BPE', vocab: { a: 0 }, merges: 'a b' } } }],
    ['ids in words', { 'tokenizer.json': { model: { type: 'BPE', vocab: { a: 'x' }, merges: [] } } }],
    ['absurd ids', { 'tokenizer.json': { model: { type: 'BPE', vocab: { a: 1e15 }, merges: [] } } }],
    ['an unknown model', { 'tokenizer.json': { model: { type: 'Magic', vocab: { a: 0 } } } }],
    ['an unknown normalizer', { 'tokenizer.json': { ...BYTE_LEVEL, normalizer: { type: 'Magic' } } }],
    ['an unknown pre-tokenizer', { 'tokenizer.json': { ...BYTE_LEVEL, pre_tokenizer: { type: 'Magic' } } }],
    ['an unknown decoder', { 'tokenizer.json': { ...BYTE_LEVEL, decoder: { type: 'Magic' } } }],
    ['an unknown post-processor', { 'tokenizer.json': { ...BYTE_LEVEL, post_processor: { type: 'Magic' } } }],
    ['a sequence of nothing', { 'tokenizer.json': { ...BYTE_LEVEL, pre_tokenizer: { type: 'Sequence' } } }],
    [
      'a pattern that cannot be read',
      {
        'tokenizer.json': {
          ...BYTE_LEVEL,
          pre_tokenizer: { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated' },
        },
      },
    ],
    ['no pattern', { 'tokenizer.json': { ...BYTE_LEVEL, pre_tokenizer: { type: 'Split', behavior: 'Isolated' } } }],
    [
      'an unknown behaviour',
      { 'tokenizer.json': { ...BYTE_LEVEL, pre_tokenizer: { type: 'Punctuation', behavior: 'Odd' } } },
    ],
    ['an added token without text', { 'tokenizer.json': { ...BYTE_LEVEL, added_tokens: [{ id: 0 }] } }],
    ['an added token without an id', { 'tokenizer.json': { ...BYTE_LEVEL, added_tokens: [{ content: 'x' }] } }],
    [
      'a template that names nothing',
      {
        'tokenizer.json': {
          ...BYTE_LEVEL,
          post_processor: { type: 'TemplateProcessing', single: [{ SpecialToken: { id: 'x' } }] },
        },
      },
    ],
    ['prefixes for parts of words', { 'tokenizer.json': { model: { ...model, continuing_subword_prefix: '##' } } }],
  ])('%s', async (_, files) => {
    const error = await load(files).catch((one: unknown) => one)
    expect(error).toBeInstanceOf(CodedError)
    expect(error).toMatchObject({
      code: 'model.tokenizer',
      where: expect.stringMatching(/./),
      fix: expect.stringMatching(/./),
    })
  })

  it('never crashes on 500 mutations of a tokenizer file', { timeout: 60_000 }, async () => {
    const bytes = new TextEncoder().encode(JSON.stringify(BYTE_LEVEL))
    const random = xoroshiro128plus(7)
    const pick = (below: number) => uniformInt(random, 0, below - 1)
    let refused = 0
    for (let i = 0; i < 500; i++) {
      const changed = bytes.slice(0, pick(12) === 0 ? pick(bytes.length) : bytes.length)
      for (let n = pick(4); n >= 0; n--)
        changed[pick(changed.length)] = [34, 44, 48 + pick(10), 58, 91, 123, 110, pick(256)][pick(8)]!
      try {
        const tokenizer = await loadTokenizer(memoryFolder({ 'tokenizer.json': changed }))
        tokenizer.decode(tokenizer.encode('Lily said: "It\'s 12 é 😀"'))
      } catch (error) {
        expect(error).toBeInstanceOf(CodedError)
        refused++
      }
    }
    expect(refused).toBeGreaterThan(100)
  })
})
