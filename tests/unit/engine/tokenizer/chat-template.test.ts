/** Chat templates against texts recorded from transformers (scripts/golden/record_templates.py), and templates that misbehave. */
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadTokenizer } from '../../../../src/engine/tokenizer'
import { BUILT_IN_TEMPLATES, loadChatTemplate } from '../../../../src/engine/tokenizer/chat-template'
import { CompiledTemplate, strftime } from '../../../../src/engine/tokenizer/template-run'
import { CodedError } from '../../../../src/shared/errors'
import type { ChatMessage } from '../../../../src/shared/records'
import { dataFolder, diskFolder, memoryFolder } from '../../../support/folder'

const golden = JSON.parse(
  readFileSync(resolve(import.meta.dirname, '../../../golden/chat-templates.json'), 'utf8'),
) as {
  templates: Record<string, string>
  chats: Record<string, ChatMessage[]>
  tools: unknown[]
  tokens: Record<string, string>
  cases: { template: string; chat: string; prompt: boolean; tools: boolean; text?: string; error?: string }[]
}

const TOKENIZER = JSON.stringify({
  model: { type: 'BPE', vocab: { '<s>': 0, '</s>': 1, a: 2, b: 3 }, merges: [] },
  added_tokens: ['<s>', '</s>'].map((content, id) => ({ id, content, special: true })),
  post_processor: {
    type: 'TemplateProcessing',
    single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    special_tokens: { '<s>': { id: '<s>', ids: [0], tokens: ['<s>'] } },
  },
})

/** A model folder with these files beside a tiny tokenizer. */
async function load(config: Record<string, unknown>, files: Record<string, string> = {}) {
  const source = memoryFolder({
    'tokenizer.json': TOKENIZER,
    'tokenizer_config.json': JSON.stringify({ ...golden.tokens, ...config }),
    ...files,
  })
  return loadChatTemplate(source, await loadTokenizer(source))
}

const CHAT: ChatMessage[] = [
  { role: 'system', content: 'Be kind.' },
  { role: 'user', content: 'Hi' },
  { role: 'assistant', content: 'Hello' },
]

describe('own templates', () => {
  for (const name of Object.keys(golden.templates)) {
    it(`renders as transformers does: ${name}`, async () => {
      const template = await load({ chat_template: golden.templates[name] })
      expect(template.builtIn).toBeNull()
      for (const { chat, prompt, tools, text, error } of golden.cases.filter((one) => one.template === name)) {
        const render = () =>
          template.render(golden.chats[chat]!, {
            addGenerationPrompt: prompt,
            ...(tools ? { tools: golden.tools } : {}),
          })
        if (error === undefined) expect(render(), `${chat} ${prompt}`).toBe(text)
        else expect(render, `${chat} ${prompt}`).toThrow(error)
      }
    })
  }

  it('is found in chat_template.jinja first, then chat_template.json, then the tokenizer config', async () => {
    const render = async (...args: Parameters<typeof load>) =>
      (await load(...args)).render(CHAT, { addGenerationPrompt: false })
    const json = { 'chat_template.json': '{"chat_template": "json"}' }
    expect(await render({ chat_template: 'config' }, { ...json, 'chat_template.jinja': 'jinja' })).toBe('jinja')
    expect(await render({ chat_template: 'config' }, json)).toBe('json')
    expect(await render({ chat_template: 'config' })).toBe('config')
  })

  it('takes "tool_use" of a list where tools are given, else "default"', async () => {
    const named = [
      { name: 'tool_use', template: 'with {{ tools | length }}' },
      { name: 'default', template: 'without' },
    ]
    const template = await load({ chat_template: named })
    expect(template.render(CHAT, { addGenerationPrompt: false })).toBe('without')
    expect(template.render(CHAT, { addGenerationPrompt: false, tools: golden.tools })).toBe('with 1')
  })
})

describe('built-in templates', () => {
  it('stands in where the model has none, with bos only where the tokenizer adds it', async () => {
    const template = await load({})
    expect(template.builtIn).toBe('plain')
    expect(template.render(CHAT, { addGenerationPrompt: false })).toBe(
      '<s>Be kind.\n\nUser: Hi\n\nAssistant: Hello</s>',
    )
    expect(template.render(CHAT.slice(0, 2), { addGenerationPrompt: true })).toBe(
      '<s>Be kind.\n\nUser: Hi\n\nAssistant:',
    )
  })

  it('opens every answer with a literal beginning of the whole chat', async () => {
    const source = memoryFolder({ 'tokenizer.json': TOKENIZER, 'tokenizer_config.json': JSON.stringify(golden.tokens) })
    const tokenizer = await loadTokenizer(source)
    for (const name of ['plain', 'chatml', 'alpaca'] as const) {
      const template = await loadChatTemplate(source, tokenizer, name)
      expect(template.source).toBe(`{{ bos_token }}${BUILT_IN_TEMPLATES[name].source}`)
      const long = [...CHAT, ...CHAT.slice(1)]
      const whole = template.render(long, { addGenerationPrompt: false })
      for (const answer of [2, 4]) {
        const before = template.render(long.slice(0, answer), { addGenerationPrompt: true })
        const through = template.render(long.slice(0, answer + 1), { addGenerationPrompt: false })
        expect(through.startsWith(before)).toBe(true)
        expect(whole.startsWith(through)).toBe(true)
        expect(through.slice(before.length)).toContain('Hello')
      }
    }
  })

  it('is ChatML where the tokens are there', { timeout: 30_000 }, async () => {
    const path = dataFolder('tokenizers/smollm-135m')
    if (!path) return
    const template = await loadChatTemplate(diskFolder(path), await loadTokenizer(diskFolder(path)))
    expect(template.builtIn).toBe('chatml')
    expect(template.render(CHAT.slice(1, 2), { addGenerationPrompt: true })).toBe(
      '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n',
    )
  })
})

/** The error of compiling and rendering. */
function failure(source: string): CodedError {
  try {
    new CompiledTemplate(source).render({ messages: CHAT, tools: null, add_generation_prompt: false })
  } catch (error) {
    expect(error).toBeInstanceOf(CodedError)
    expect((error as CodedError).code).toBe('template.invalid')
    return error as CodedError
  }
  throw new Error('it was rendered')
}

describe('templates that misbehave', () => {
  const endless = {
    'nested ranges':
      '{% for a in range(100000) %}{% for b in range(100000) %}{% for c in range(100000) %}{% endfor %}{% endfor %}{% endfor %}',
    'a huge range': '{% for a in range(1000000000) %}{% endfor %}',
    'a macro that calls itself': '{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}',
    'macros that double':
      '{% macro m(n) %}{% if n > 0 %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}',
    'a text that doubles':
      '{% set ns = namespace(x="ab") %}{% for a in range(1000) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}',
    'a list that doubles':
      '{% set ns = namespace(x=[1, 2]) %}{% for a in range(1000) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}',
    'deep brackets': `{{ ${'('.repeat(50_000)}1${')'.repeat(50_000)} }}`,
    'a long sum': `{{ ${'1 + '.repeat(50_000)}1 }}`,
    'loops over the same list':
      '{% set x = range(100000) %}{% for a in x %}{% for b in x %}{% for c in x %}{% endfor %}{% endfor %}{% endfor %}',
  }
  for (const [name, source] of Object.entries(endless)) {
    it(`stops ${name}`, { timeout: 30_000 }, () => {
      expect(failure(source).what).toMatch(/steps|nests|grows|writes|range/)
    })
  }

  it.each([
    ['{{ "a" }}\n\n{{ 1 + }}', 3],
    ['a\n{% if x %}\nb', 2],
    ['{# {{ #}\n{% for %}\n{% endfor %}', 2],
    ['\n\n{% nonsense %}', 3],
    ['{{ "}}" }}\n{{ \'unclosed }}\n', null],
    ['{% set x = 1 %}\n{% if x %}\n  {{ x }}\n{% elif x.y %}\n{% endif %}\n{{ raise_exception("no") }}', 6],
    ['{% for m in messages %}\n{% if m.role == "user" %}\n{{ m.content - 1 }}\n{% endif %}{% endfor %}', 3],
    ['{{ messages | frobnicate }}', 1],
    ['{% macro m() %}\n{{ 1 + none }}\n{% endmacro %}\n\n{{ m() }}', 2],
  ])('names the line: %j', (source, line) => {
    const { where } = failure(source)
    if (line !== null) expect(where).toBe(`chat template, line ${line}`)
  })

  it('loads all the same, so that plain text can be trained, and throws when it is rendered', async () => {
    const template = await load({ chat_template: '{% if %}' })
    expect(template.builtIn).toBeNull()
    expect(() => template.render(CHAT, { addGenerationPrompt: false })).toThrow(CodedError)
  })
})

describe('strftime', () => {
  it('writes as Python does', () => {
    const date = new Date(2024, 6, 4, 15, 5, 9)
    expect(strftime(date, '%d %b %Y|%A %a %B|%y-%m-%d|%H:%M:%S|%I %p|%j|%F %T|100%%|%Q')).toBe(
      '04 Jul 2024|Thursday Thu July|24-07-04|15:05:09|03 PM|186|2024-07-04 15:05:09|100%|%Q',
    )
  })
})
