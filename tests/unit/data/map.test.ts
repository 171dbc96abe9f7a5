import { describe, expect, it } from 'vitest'
import { asSupervised, detectFormat, mapRow, type RawRow } from '../../../src/data'

const mapFirst = (rows: RawRow[], systemPrompt?: string) => {
  const { mapping } = detectFormat(rows)
  return mapRow(rows[0] as RawRow, systemPrompt === undefined ? mapping : { ...mapping, systemPrompt })
}
const user = (content: string) => ({ role: 'user', content })
const assistant = (content: string) => ({ role: 'assistant', content })
const system = (content: string) => ({ role: 'system', content })

describe('recognition and mapping', () => {
  it('Alpaca: the input follows the instruction on a new line', () => {
    expect(mapFirst([{ instruction: 'Add', input: '1 and 1', output: '2' }])).toEqual({
      kind: 'pair',
      prompt: 'Add\n1 and 1',
      completion: '2',
      chat: [user('Add\n1 and 1'), assistant('2')],
    })
    expect(mapFirst([{ instruction: 'Hi', input: '', output: 'Hello' }])).toMatchObject({
      prompt: 'Hi',
      completion: 'Hello',
    })
  })

  it('Alpaca: system and history come before the prompt', () => {
    const row = { instruction: 'c', input: '', output: 'd', system: 's', history: [['a', 'b']] }
    expect(mapFirst([row])).toEqual({
      kind: 'pair',
      prompt: 's\na\nb\nc',
      completion: 'd',
      chat: [system('s'), user('a'), assistant('b'), user('c'), assistant('d')],
    })
    expect(() => mapFirst([{ ...row, history: [['a']] }])).toThrow('Turn 1 of "history"')
  })

  it('ShareGPT: roles are translated, calls and tools are structured', () => {
    const row = {
      conversations: [
        { from: 'human', value: 'Weather?' },
        { from: 'function_call', value: '{"name": "weather", "arguments": {"city": "Bern"}}' },
        { from: 'observation', value: '{"t": 20}' },
        { from: 'gpt', value: '20 degrees.' },
      ],
      tools: '[{"name": "weather", "parameters": {}}]',
      system: 'Be brief.',
    }
    const call = { type: 'function', function: { name: 'weather', arguments: { city: 'Bern' } } }
    expect(mapFirst([row])).toEqual({
      kind: 'chat',
      messages: [
        system('Be brief.'),
        user('Weather?'),
        { role: 'assistant', content: '', tool_calls: [call] },
        { role: 'tool', content: '{"t": 20}' },
        assistant('20 degrees.'),
      ],
      tools: [{ type: 'function', function: { name: 'weather', parameters: {} } }],
    })
  })

  it('OpenAI chat: parts are joined, weights of 0 are kept out, pictures are refused', () => {
    const row = {
      messages: [
        {
          role: 'developer',
          content: [
            { type: 'text', text: 'a' },
            { type: 'text', value: 'b' },
          ],
        },
        { role: 'user', content: 'q' },
        { role: 'assistant', content: 'no', weight: 0 },
        { role: 'assistant', content: 'yes', weight: 1 },
      ],
    }
    expect(mapFirst([row])).toEqual({
      kind: 'chat',
      messages: [system('ab'), user('q'), assistant('no'), assistant('yes')],
      unlearnt: [2],
    })
    const picture = { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }, assistant('x')] }
    expect(() => mapFirst([picture])).toThrow('Turn 1 holds "image_url"')
  })

  it('a system prompt is added only where there is none', () => {
    const chat = (messages: unknown[]) => mapFirst([{ messages }], 'Added')
    expect(chat([user('a'), assistant('b')])).toMatchObject({ messages: [system('Added'), user('a'), assistant('b')] })
    expect(chat([system('own'), user('a'), assistant('b')])).toMatchObject({
      messages: [system('own'), user('a'), assistant('b')],
    })
    expect(mapFirst([{ prompt: 'a', completion: 'b' }], 'Added')).toMatchObject({ prompt: 'Added\na' })
  })

  it('pairs stand as they are, as texts or as turns', () => {
    expect(mapFirst([{ prompt: ' a ', completion: ' b' }])).toEqual({ kind: 'pair', prompt: ' a ', completion: ' b' })
    expect(mapFirst([{ prompt: [user('a'), assistant('b'), user('c')], completion: [assistant('d')] }])).toEqual({
      kind: 'chat',
      messages: [user('a'), assistant('b'), user('c'), assistant('d')],
      trainFrom: 3,
    })
    expect(mapFirst([{ Question: 'a', Answer: 7 }])).toEqual({ kind: 'pair', prompt: 'a', completion: '7' })
  })

  it('labels, text and tokens', () => {
    const rows = [
      { text: 'nice', label: 'good' },
      { text: 'awful', label: 'bad' },
      { text: 'fine', label: 'good' },
    ]
    expect(mapFirst(rows)).toEqual({
      kind: 'pair',
      prompt: 'nice\n',
      completion: 'good',
      chat: [user('nice'), assistant('good')],
    })
    expect(mapFirst([{ text: 'all of it' }])).toEqual({ kind: 'text', text: 'all of it' })
    expect(mapFirst([{ input_ids: [1, 2, 3], labels: [-100, 2, 3] }])).toEqual({
      kind: 'tokens',
      inputIds: [1, 2, 3],
      labels: [-100, 2, 3],
    })
    expect(mapFirst([{ input_ids: '[1, 2]' }])).toEqual({ kind: 'tokens', inputIds: [1, 2], labels: [1, 2] })
    expect(() => mapFirst([{ input_ids: [1, 2, 3], labels: [1] }])).toThrow('1 labels for 3 token ids')
  })

  it.each([
    ['texts', { prompt: 'q', chosen: 'good', rejected: 'bad' }, { kind: 'pair', prompt: 'q', completion: 'good' }],
    [
      'turns',
      { prompt: [user('q')], chosen: [assistant('good')], rejected: [assistant('bad')] },
      { kind: 'chat', messages: [user('q'), assistant('good')], trainFrom: 1 },
    ],
    [
      'prompts inside the answers',
      { chosen: [user('q'), assistant('good')], rejected: [user('q'), assistant('bad')] },
      { kind: 'chat', messages: [user('q'), assistant('good')] },
    ],
    [
      'Alpaca',
      { instruction: 'q', input: 'i', chosen: 'good', rejected: 'bad' },
      { kind: 'pair', prompt: 'q\ni', completion: 'good' },
    ],
    [
      'ShareGPT',
      {
        conversations: [{ from: 'human', value: 'q' }],
        chosen: { from: 'gpt', value: 'good' },
        rejected: { from: 'gpt', value: 'bad' },
      },
      { kind: 'chat', messages: [user('q'), assistant('good')], trainFrom: 1 },
    ],
  ])('preferences as %s: refused unless the better answers are asked for', (_, row, expected) => {
    const { mapping } = detectFormat([row])
    expect(mapping.format).toBe('preference')
    expect(() => mapRow(row, mapping)).toThrow('choose to learn the better answers')
    expect(mapRow(row, asSupervised(mapping))).toMatchObject(expected)
  })

  it('KTO: only good answers are learnt, and only when asked for', () => {
    const rows = [
      { prompt: 'q', completion: 'good', label: true },
      { prompt: 'q', completion: 'bad', label: false },
    ]
    const { mapping } = detectFormat(rows)
    expect(mapping.format).toBe('kto')
    expect(() => mapRow(rows[0] as RawRow, mapping)).toThrow('choose to learn the good answers')
    const learn = asSupervised(mapping)
    expect(mapRow(rows[0] as RawRow, learn)).toMatchObject({ prompt: 'q', completion: 'good' })
    expect(() => mapRow(rows[1] as RawRow, learn)).toThrow('marked as a bad one')
    const chats = rows.map(({ label, completion }) => ({
      messages: [user('q'), assistant(completion)],
      kto_tag: label,
    }))
    expect(detectFormat(chats).mapping.format).toBe('kto')
    expect(mapRow(chats[0] as RawRow, asSupervised(detectFormat(chats).mapping))).toMatchObject({
      kind: 'chat',
    })
  })

  it('says so where the columns do not tell', () => {
    const found = detectFormat([
      { foo: 'a b', bar: 'c d' },
      { foo: 'e', bar: 'f' },
    ])
    expect(found.mapping.format).toBe('unknown')
    expect(found.why).toContain('"foo", "bar"')
    expect(() => mapRow({ foo: 'a' }, found.mapping)).toThrow('It is not known')
    expect(detectFormat([{ messages: [user('<image>'), assistant('x')], images: ['a.jpg'] }]).mapping.format).toBe(
      'unknown',
    )
  })

  it('proposes the two columns with the longest texts, in their order', () => {
    const row = (id: number) => ({
      id: `${id}`,
      reply: `It is on its way, number ${id}.`,
      ask: `And ${id}?`,
      region: 'EU',
    })
    expect(detectFormat([row(1), row(2), row(3)]).mapping).toEqual({
      format: 'unknown',
      columns: { prompt: 'reply', completion: 'ask' },
    })
    expect(detectFormat([{ a: 1, b: 'x y' }]).mapping.columns).toEqual({})
  })

  it('does not call a name unknown whose column holds no texts', () => {
    const { mapping, why } = detectFormat([{ prompt: 'a b', completion: '' }, { prompt: 'c d', completion: null }]) // prettier-ignore
    expect(mapping.format).toBe('unknown')
    expect(why).toMatch(/^The names are known, but there are hardly any texts in "completion"/)
  })

  it.each([
    [{ instruction: 'a', output: '' }, 'The column "output" is empty.'],
    [{ instruction: 'a' }, 'The column "output" is missing.'],
    [{ instruction: null, output: 'x' }, 'The column "instruction" is missing.'],
  ])('refuses %j', (row, reason) => {
    expect(() => mapRow(row, { format: 'alpaca', columns: { instruction: 'instruction', output: 'output' } })).toThrow(
      reason,
    )
  })

  it.each([
    [[], 'holds no turns'],
    ['text', 'holds no list of turns'],
    [[{ role: 'narrator', content: 'x' }], 'Turn 1 has the role "narrator"'],
    [[user('q'), assistant(' ')], 'Turn 2 is an empty answer'],
    [[user('q'), 'x'], 'Turn 2 has no role and content'],
  ])('refuses the turns %j', (messages, reason) => {
    expect(() => mapRow({ messages }, { format: 'chat', columns: { messages: 'messages' } })).toThrow(reason)
  })
})
