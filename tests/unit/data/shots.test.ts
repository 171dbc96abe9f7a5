/** Examples in the prompt: the question stays last, and only its answer is learnt. */
import { expect, test } from 'vitest'
import { withShots, type Example } from '../../../src/data'

const turn = (role: string, content: string) => ({ role, content })
const chat = (question: string, answer: string): Example => ({
  kind: 'chat',
  messages: [turn('system', 'Be kind.'), turn('user', question), turn('assistant', answer)],
})

test('a chat gets earlier turns under its own system message', () => {
  const made = withShots([chat('a?', 'A'), chat('b?', 'B')], chat('c?', 'C'))
  expect(made.kind === 'chat' && made.messages.map(({ content }) => content)).toEqual([
    'Be kind.',
    'a?',
    'A',
    'b?',
    'B',
    'c?',
    'C',
  ])
  expect(made).toMatchObject({ trainFrom: 6 })
})

test('a pair gets text with empty lines between, and turns where it has them', () => {
  const pair = (prompt: string, completion: string): Example => ({
    ...{ kind: 'pair', prompt, completion },
    chat: [turn('user', prompt), turn('assistant', completion)],
  })
  const made = withShots([pair('2+2=', '4')], pair('3+3=', '6'))
  expect(made).toMatchObject({ prompt: '2+2=4\n\n3+3=', completion: '6' })
  expect(made.kind === 'pair' && made.chat?.map(({ content }) => content)).toEqual(['2+2=', '4', '3+3=', '6'])
})

test('running text stays as it is', () => {
  expect(withShots([chat('a?', 'A')], { kind: 'text', text: 'x' })).toEqual({ kind: 'text', text: 'x' })
})
