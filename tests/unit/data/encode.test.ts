import { describe, expect, it } from 'vitest'
import {
  encodeExample,
  encodePrompt,
  mapRow,
  type ChatExample,
  type EncodedExample,
  type Example,
} from '../../../src/data'
import type { ChatTemplate } from '../../../src/engine/tokenizer/chat-template'
import type { Tokenizer } from '../../../src/engine/tokenizer'
import { byteModel, CHATML } from './support'

const BOS = 0
const EOS = 1
const bytes = (text: string) => [...new TextEncoder().encode(text)].map((byte) => byte + 4)
const options = { maxLength: 1000, trainOn: 'completion' } as const

/** The text of each run of learnt tokens. */
function learnt(encoded: EncodedExample, tokenizer: Tokenizer): string[] {
  const runs: number[][] = []
  encoded.labels.forEach((label, i) => {
    if (label === -100) return
    expect(label).toBe(encoded.inputIds[i])
    if (i === 0 || encoded.labels[i - 1] === -100) runs.push([])
    runs.at(-1)?.push(label)
  })
  return runs.map((run) => tokenizer.decode(run))
}

const chat = (...turns: string[]): ChatExample => ({
  kind: 'chat',
  messages: turns.map((content, i) => ({ role: i % 2 ? 'assistant' : 'user', content })),
})

describe('pairs and texts', () => {
  it('is tokenizer(prompt) + tokenizer(completion, no special tokens) + [eos], the prompt not learnt', async () => {
    const { tokenizer, template } = await byteModel()
    const encoded = encodeExample({ kind: 'pair', prompt: 'Hi', completion: 'Yo' }, tokenizer, template, options)
    expect([...encoded.inputIds]).toEqual([BOS, ...bytes('Hi'), ...bytes('Yo'), EOS])
    expect([...encoded.labels]).toEqual([-100, -100, -100, ...bytes('Yo'), EOS])
    expect(encoded).toMatchObject({ truncated: 0, trainedTokens: 3 })
    expect(encoded.problem).toBeUndefined()
  })

  it('tokenises prompt and completion apart even where they would merge', async () => {
    const { tokenizer, template } = await byteModel(undefined, [['a', 'b']])
    const encoded = encodeExample({ kind: 'pair', prompt: 'a', completion: 'b' }, tokenizer, template, options)
    expect([...encoded.inputIds]).toEqual([BOS, ...bytes('a'), ...bytes('b'), EOS])
    expect(tokenizer.encode('ab', { addSpecialTokens: false })).toHaveLength(1)
  })

  it('learns all of a text and its end, and everything where asked to', async () => {
    const { tokenizer, template } = await byteModel()
    const text = encodeExample({ kind: 'text', text: 'abc' }, tokenizer, template, options)
    expect([...text.inputIds]).toEqual([BOS, ...bytes('abc'), EOS])
    expect(text.labels).toEqual(text.inputIds)
    expect(text.trainedTokens).toBe(4)
    const all = encodeExample({ kind: 'pair', prompt: 'Hi', completion: 'Yo' }, tokenizer, template, {
      ...options,
      trainOn: 'all',
    })
    expect(all.labels).toEqual(all.inputIds)
  })

  it('takes tokens as they stand, and refuses foreign ones', async () => {
    const { tokenizer, template } = await byteModel()
    const tokens: Example = { kind: 'tokens', inputIds: [5, 6, 7], labels: [-100, 6, -100] }
    const encoded = encodeExample(tokens, tokenizer, template, { maxLength: 10, trainOn: 'all' })
    expect([...encoded.labels]).toEqual([-100, 6, -100])
    expect(
      encodeExample({ kind: 'tokens', inputIds: [5, 999_999], labels: [5, 6] }, tokenizer, template, options).problem,
    ).toContain('999999')
  })

  it('cuts at the end, counts what is cut, and flags rows that keep nothing to learn', async () => {
    const { tokenizer, template } = await byteModel()
    const pair: Example = { kind: 'pair', prompt: 'question', completion: 'answer' }
    const cut = encodeExample(pair, tokenizer, template, { ...options, maxLength: 12 })
    expect(cut).toMatchObject({ truncated: 4, trainedTokens: 3 })
    expect(cut.inputIds).toHaveLength(12)
    expect(encodeExample(pair, tokenizer, template, { ...options, maxLength: 9 }).problem).toContain(
      'cuts the whole answer off',
    )
    expect(encodeExample(chat('only a question'), tokenizer, template, options).problem).toContain('no answer')
  })
})

describe('chats', () => {
  it('learns every answer with its end token and not the line break after it', async () => {
    const { tokenizer, template } = await byteModel(CHATML)
    const encoded = encodeExample(chat('a', 'first', 'b', 'second\n'), tokenizer, template, options)
    expect(learnt(encoded, tokenizer)).toEqual(['first<|im_end|>', 'second\n<|im_end|>'])
    const whole = template.render(chat('a', 'first', 'b', 'second\n').messages, { addGenerationPrompt: false })
    expect([...encoded.inputIds]).toEqual(tokenizer.encode(whole, { addSpecialTokens: false }))
  })

  it('learns only from a given turn on, and never turns of weight 0', async () => {
    const { tokenizer, template } = await byteModel(CHATML)
    const from = encodeExample({ ...chat('a', 'first', 'b', 'second'), trainFrom: 3 }, tokenizer, template, options)
    expect(learnt(from, tokenizer)).toEqual(['second<|im_end|>'])
    const without = encodeExample({ ...chat('a', 'first', 'b', 'second'), unlearnt: [3] }, tokenizer, template, options)
    expect(learnt(without, tokenizer)).toEqual(['first<|im_end|>'])
  })

  it('learns only the last answer where asked to, of those that may be learnt', async () => {
    const { tokenizer, template } = await byteModel(CHATML)
    const last = { ...options, trainOn: 'last' } as const
    const long = chat('a', 'first', 'b', 'second', 'c', 'third')
    const every = encodeExample(long, tokenizer, template, options)
    const one = encodeExample(long, tokenizer, template, last)
    expect(learnt(one, tokenizer)).toEqual(['third<|im_end|>'])
    expect(one.inputIds).toEqual(every.inputIds)
    expect(one.trainedTokens).toBe(6)
    const unlearnt = encodeExample({ ...long, unlearnt: [5] }, tokenizer, template, last)
    expect(learnt(unlearnt, tokenizer)).toEqual(['second<|im_end|>'])
    const question = encodeExample(chat('a', 'first', 'b'), tokenizer, template, last)
    expect(learnt(question, tokenizer)).toEqual(['first<|im_end|>'])
    const cut = encodeExample(long, tokenizer, template, { ...last, maxLength: one.inputIds.length - 8 })
    expect(cut.problem).toContain('cuts the whole answer off')
    const pair: Example = { kind: 'pair', prompt: 'Hi', completion: 'Yo' }
    expect(encodeExample(pair, tokenizer, template, last)).toEqual(encodeExample(pair, tokenizer, template, options))
  })

  it('learns the last answer through templates that hide earlier ones', async () => {
    const { tokenizer, template } = await byteModel(
      "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' and not loop.last %}{{ m['content'].split('</think>')[-1] | trim }}{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    )
    const hidden = chat('a', '<think>x</think>first', 'b', '<think>y</think>second')
    expect(encodeExample(hidden, tokenizer, template, options).problem).toContain('does not show')
    const one = encodeExample(hidden, tokenizer, template, { ...options, trainOn: 'last' })
    expect(learnt(one, tokenizer)).toEqual(['<think>y</think>second<|im_end|>'])
  })

  it('learns the token that an answer shares with what stands before it', async () => {
    const { tokenizer, template } = await byteModel(CHATML, [['\n', '\n']])
    const encoded = encodeExample(chat('a', '\nline'), tokenizer, template, options)
    expect(learnt(encoded, tokenizer)).toEqual(['\n\nline<|im_end|>'])
  })

  it('finds answers of characters that take several tokens', async () => {
    const { tokenizer, template } = await byteModel(CHATML)
    expect(learnt(encodeExample(chat('漢', '字🙂', 'ü', 'ß'), tokenizer, template, options), tokenizer)).toEqual([
      '字🙂<|im_end|>',
      'ß<|im_end|>',
    ])
  })

  it('finds answers in templates that rewrite earlier turns', async () => {
    const { tokenizer, template } = await byteModel(
      "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' and not loop.last %}{{ m['content'].split('</think>')[-1] | trim }}{% else %}{{ m['content'] | trim }}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}",
    )
    const encoded = encodeExample(chat(' a', ' first ', 'b', 'second'), tokenizer, template, options)
    expect(learnt(encoded, tokenizer)).toEqual(['first<|im_end|>', 'second<|im_end|>'])
    const hidden = encodeExample(chat('a', '<think>x</think>first', 'b', 'second'), tokenizer, template, options)
    expect(hidden.problem).toContain('does not show where an answer begins')
  })

  it('opens the first question with a system text that the template refuses', async () => {
    const { tokenizer, template } = await byteModel(
      `{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}${CHATML}`,
    )
    const example = chat('a', 'b')
    example.messages.unshift({ role: 'system', content: 'S' })
    const encoded = encodeExample(example, tokenizer, template, options)
    expect(tokenizer.decode([...encoded.inputIds])).toContain('user\nS\n\na<|im_end|>')
    expect(learnt(encoded, tokenizer)).toEqual(['b<|im_end|>'])
  })

  it('writes tool calls as JSON where the template has no place for them', async () => {
    const { tokenizer, template } = await byteModel(CHATML)
    const call = { type: 'function', function: { name: 'f', arguments: { x: 1 } } }
    const encoded = encodeExample(
      {
        kind: 'chat',
        messages: [
          { role: 'user', content: 'q' },
          { role: 'assistant', content: '', tool_calls: [call] },
        ],
      },
      tokenizer,
      template,
      options,
    )
    expect(learnt(encoded, tokenizer)).toEqual(['{"name":"f","arguments":{"x":1}}<|im_end|>'])
  })

  it('uses the turns of an Alpaca row only where the model has a template of its own', async () => {
    const example: Example = { kind: 'pair', prompt: 'p', completion: 'c', chat: chat('p', 'c').messages }
    const own = await byteModel(CHATML)
    expect(learnt(encodeExample(example, own.tokenizer, own.template, options), own.tokenizer)).toEqual(['c<|im_end|>'])
    const none = await byteModel()
    const plain = encodeExample(example, none.tokenizer, none.template, options)
    expect([...plain.inputIds]).toEqual([BOS, ...bytes('pc'), EOS])
  })

  it('learns answers through the built-in template too', async () => {
    const { tokenizer, template } = await byteModel()
    expect(template.builtIn).not.toBeNull()
    const runs = learnt(encodeExample(chat('a', 'first', 'b', 'second'), tokenizer, template, options), tokenizer)
    expect(runs.map((run) => run.trim())).toHaveLength(2)
    runs.forEach((run, i) => expect(run).toContain(['first', 'second'][i]))
  })

  it('agrees with tokenising apart when tokens do not spell the text out', async () => {
    const { tokenizer, template } = await byteModel(CHATML, [['\n', '\n']])
    const deaf: Tokenizer = Object.create(tokenizer, {
      pieces: { value: (ids: number[]) => ids.map(() => '?') },
    }) as Tokenizer
    const exact = encodeExample(chat('a', 'first', 'b', 'second'), tokenizer, template, options)
    const prefix = encodeExample(chat('a', 'first', 'b', 'second'), deaf, template, options)
    expect(prefix).toEqual(exact)
    const segments = encodeExample(chat('a', '\nline'), deaf, template as ChatTemplate, options)
    expect(learnt(segments, tokenizer)).toEqual(['\nline<|im_end|>'])
  })
})

describe('prompts', () => {
  const turns = (content: string, answer: string) => [
    { role: 'user', content },
    { role: 'assistant', content: answer },
  ]
  const said = (value: string, answer: string) => [
    { from: 'human', value },
    { from: 'gpt', value: answer },
  ]
  it.each([
    ['alpaca', { instruction: 'instruction', output: 'output' }, { instruction: 'Why?', output: 'So.' }],
    ['label', { text: 'text', label: 'label' }, { text: 'Why?', label: 'So.' }],
    ['pair', { prompt: 'prompt', completion: 'completion' }, { prompt: 'Why?', completion: 'So.' }],
    ['chat', { messages: 'messages' }, { messages: turns('Why?', 'So.') }],
    ['sharegpt', { conversations: 'c' }, { c: said('Why?', 'So.') }],
    ['text', { text: 'text' }, { text: 'Why? So.' }],
  ] as const)('of %s rows are the very tokens that training began with', async (format, columns, row) => {
    for (const own of [undefined, CHATML]) {
      for (const systemPrompt of [undefined, 'Be brief.']) {
        const { tokenizer, template } = await byteModel(own)
        const mapping = { format, columns, ...(systemPrompt ? { systemPrompt } : {}) }
        const trained = encodeExample(mapRow(row, mapping), tokenizer, template, options)
        const asked = encodePrompt('Why?', mapping, tokenizer, template)
        expect([...trained.inputIds.slice(0, asked.length)]).toEqual(asked)
        if (format !== 'text') expect(trained.labels.findIndex((label) => label !== -100)).toBe(asked.length)
      }
    }
  })
})
