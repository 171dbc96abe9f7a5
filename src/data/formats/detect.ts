/** Tells what rows are from their columns and values, and says why. Refuses to guess where two readings are as likely. */
import type { Mapping } from '../../shared/records'
import type { RawRow } from '../types'
import { Columns } from './columns'

interface Detection {
  mapping: Mapping
  /** Why, in one sentence. */
  why: string
}

const PROMPTS = [
  'prompt',
  'question',
  'query',
  'input',
  'source',
  'problem',
  'user',
  'human',
  'request',
  'english',
  'en',
]
const ANSWERS = [
  'completion',
  'response',
  'answer',
  'output',
  'target',
  'reply',
  'assistant',
  'solution',
  'summary',
  'bot',
]
const TEXTS = [
  'text',
  'content',
  'sentence',
  'passage',
  'document',
  'story',
  'article',
  'body',
  'tweet',
  'tweet_text',
  'review',
  'message',
]
const LABELS = [
  'label_text',
  'text_label',
  'label_name',
  'category',
  'intent',
  'sentiment',
  'class',
  'label',
  'tag',
  'topic',
  'emotion',
]
const MEDIA = ['images', 'image', 'videos', 'video', 'audios', 'audio']

/** What the rows are taken for; format `unknown`, with the reason, where their columns do not tell. */
export function detectFormat(rows: readonly RawRow[]): Detection {
  const columns = new Columns(rows)
  for (const attempt of [tokens, media, preference, kto, chat, alpaca, pair, label, text]) {
    const found = attempt(columns)
    if (found) return found
  }
  // What is proposed, and not taken until the person says so.
  const [prompt, completion] = columns.longestTexts() ?? []
  const textless = columns.textless(['instruction', ...PROMPTS, ...ANSWERS, ...TEXTS])
  const why =
    textless === ''
      ? `No known column names among ${columns.list()}: choose which is the prompt and which the answer.`
      : `The names are known, but there are hardly any texts in ${textless}: empty, numbers or nested. Mend the file, or choose which is the prompt and which the answer.`
  return found('unknown', { prompt, completion }, why)
}

const unknown = (why: string): Detection => found('unknown', {}, why)

function found(format: Mapping['format'], roles: Record<string, string | undefined>, why: string): Detection {
  const columns = Object.fromEntries(
    Object.entries(roles).filter((entry): entry is [string, string] => entry[1] !== undefined),
  )
  return { mapping: { format, columns }, why }
}

function tokens(columns: Columns): Detection | undefined {
  const ids = columns.find(['input_ids'], 'ids')
  if (!ids) return undefined
  const labels = columns.find(['labels'], 'ids')
  const why = labels
    ? 'The rows hold token ids and labels: taken as they stand.'
    : 'The rows hold token ids without labels: every token is learnt.'
  return found('tokens', { input_ids: ids, labels }, why)
}

function media(columns: Columns): Detection | undefined {
  const column = columns.find(MEDIA, 'filled')
  return column
    ? unknown(`The rows are about pictures or sounds (column "${column}"); only text can be trained on.`)
    : undefined
}

function preference(columns: Columns): Detection | undefined {
  const spellings: [string[], string[]][] = [
    [
      ['chosen', 'preferred', 'better'],
      ['rejected', 'dispreferred', 'worse'],
    ],
    [
      ['response_j', 'response_a_chosen'],
      ['response_k', 'response_b_rejected'],
    ],
  ]
  for (const [better, worse] of spellings) {
    const chosen = columns.find(better, 'filled')
    const rejected = columns.find(worse, 'filled')
    if (!chosen || !rejected) continue
    const turns = columns.find(['conversations', 'messages', 'prompt'], 'turns')
    const prompt = turns ?? columns.find(['instruction', ...PROMPTS], 'text')
    const input =
      prompt !== undefined && prompt !== turns && columns.is(prompt, 'instruction')
        ? columns.find(['input'], 'string')
        : undefined
    const implicit = prompt === undefined ? ', with the prompt inside both' : ''
    return found(
      'preference',
      { prompt, input, chosen, rejected },
      `Each row has a better and a worse answer ("${chosen}", "${rejected}")${implicit}.`,
    )
  }
  return undefined
}

function kto(columns: Columns): Detection | undefined {
  const mark = columns.find(['kto_tag', 'label', 'desirable'], 'truth')
  if (!mark) return undefined
  const messages = columns.find(['messages', 'conversations'], 'turns')
  const why = `Each row has an answer and whether it was good ("${mark}").`
  if (messages) return found('kto', { messages, label: mark }, why)
  const prompt = columns.find(['instruction', ...PROMPTS], 'filled')
  const completion = columns.find(ANSWERS, 'filled')
  return prompt && completion ? found('kto', { prompt, completion, label: mark }, why) : undefined
}

function chat(columns: Columns): Detection | undefined {
  const prompt = columns.find(['prompt'], 'turns')
  const completion = columns.find(['completion'], 'filled')
  if (prompt && completion) {
    return found('pair', { prompt, completion }, 'Each row has a prompt and a completion, written as turns.')
  }
  const column =
    columns.find(['messages', 'conversations', 'conversation', 'dialogue', 'dialog', 'turns', 'chat'], 'turns') ??
    columns.any('turns')
  if (!column) return undefined
  const extra = {
    system: columns.find(['system', 'system_prompt'], 'string'),
    tools: columns.find(['tools', 'functions'], 'present'),
  }
  return columns.has(column, 'from-value')
    ? found('sharegpt', { conversations: column, ...extra }, `The column "${column}" holds turns as from and value.`)
    : found('chat', { messages: column, ...extra }, `The column "${column}" holds turns as role and content.`)
}

function alpaca(columns: Columns): Detection | undefined {
  const instruction = columns.find(['instruction'], 'text')
  const output = columns.find(ANSWERS, 'text', true)
  if (!instruction || !output) return undefined
  const input = columns.find(['input', 'context'], 'string', true)
  const roles = {
    instruction,
    output,
    input,
    system: columns.find(['system'], 'string'),
    history: columns.find(['history'], 'present'),
  }
  return found('alpaca', roles, `Each row has "${instruction}" and "${output}".`)
}

function pair(columns: Columns): Detection | undefined {
  const prompt = columns.find(PROMPTS, 'text')
  const completion = columns.find(
    ANSWERS.filter((name) => !prompt || !columns.is(prompt, name)),
    'filled',
  )
  if (!prompt || !completion) return undefined
  return found(
    'pair',
    { prompt, completion },
    `"${prompt}" is taken for the prompt and "${completion}" for the answer.`,
  )
}

function label(columns: Columns): Detection | undefined {
  const text = columns.find(TEXTS, 'text')
  const named = text ? (columns.find(LABELS, 'short') ?? columns.find(LABELS, 'class')) : undefined
  if (text && named) {
    return found(
      'label',
      { text, label: named },
      `"${text}" is a text and "${named}" its class (${columns.variety(named)} different ones seen).`,
    )
  }
  const guess = columns.textAndClass()
  if (!guess) return undefined
  const why = `Few different values in "${guess.label}" (${columns.variety(guess.label)} seen) beside texts in "${guess.text}".`
  return found('label', guess, why)
}

function text(columns: Columns): Detection | undefined {
  const column = columns.find(TEXTS, 'text') ?? columns.onlyText()
  return column ? found('text', { text: column }, `Each row has one text ("${column}").`) : undefined
}
