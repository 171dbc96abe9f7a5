/**
 * Chats to text with the model's own Jinja template, as transformers renders them, or with a plain one where the model has none.
 * Refuses to tokenise.
 */
import { CodedError } from '../../shared/errors'
import type { FileSource } from '../../shared/files'
import type { ChatMessage } from '../../shared/records'
import { readObject, tokenNames } from './files'
import type { Tokenizer } from './index'
import { CompiledTemplate } from './template-run'

export interface ChatTemplate {
  /** The Jinja source in use. */
  readonly source: string
  /** The name of the built-in template that stands in, or null where the model has its own. */
  readonly builtIn: BuiltInTemplate | null
  /**
   * The chat as text, special tokens written out: tokenise it without adding any. `addGenerationPrompt` opens an answer.
   * Throws CodedError `template.invalid`.
   */
  render(messages: readonly ChatMessage[], options: { addGenerationPrompt: boolean; tools?: unknown[] }): string
}

export type BuiltInTemplate = 'plain' | 'chatml' | 'alpaca'

/** What a model without a template can be taught, each with what it means. */
export const BUILT_IN_TEMPLATES: {
  readonly [Name in BuiltInTemplate]: { label: string; help: string; source: string }
} = {
  plain: {
    label: 'Plain',
    help: 'Turns begin with "User:" and "Assistant:", answers end with the end token. Suits base models: they know the words already.',
    source: `{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] }}{% elif message['role'] == 'user' %}User: {{ message['content'] }}{% elif message['role'] == 'assistant' %}Assistant: {{ message['content'] }}{{ eos_token }}{% else %}{{ message['role'] | capitalize }}: {{ message['content'] }}{% endif %}{% if not loop.last or add_generation_prompt %}{{ '\\n\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}`,
  },
  chatml: {
    label: 'ChatML',
    help: 'Turns stand between <|im_start|> and <|im_end|>. Right for models that have these tokens, costly for those that do not.',
    source: `{% for message in messages %}<|im_start|>{{ message['role'] }}{{ '\\n' }}{{ message['content'] }}<|im_end|>{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{{ '\\n' }}{% endif %}`,
  },
  alpaca: {
    label: 'Alpaca',
    help: 'Headings "### Instruction:" and "### Response:", answers end with the end token. Suits single questions and answers.',
    source: `{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] }}{% elif message['role'] == 'assistant' %}### Response:{{ '\\n' }}{{ message['content'] }}{{ eos_token }}{% else %}### Instruction:{{ '\\n' }}{{ message['content'] }}{% endif %}{% if not loop.last or add_generation_prompt %}{{ '\\n\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}### Response:{{ '\\n' }}{% endif %}`,
  },
}

/**
 * The template of a model folder: chat_template.jinja, chat_template.json, or `chat_template` in tokenizer_config.json (text, or a list of
 * named ones: "tool_use" is taken where tools are given). Without one, or where `choice` asks for it, a built-in template. A template that
 * cannot be parsed throws when it is rendered, so that the model can still be used for plain text.
 */
export async function loadChatTemplate(
  source: FileSource,
  tokenizer: Tokenizer,
  choice?: BuiltInTemplate,
): Promise<ChatTemplate> {
  const names = new Set((await source.list()).map((file) => file.name))
  const config = (await readObject(source, names, 'tokenizer_config.json')) ?? {}
  const special = (await readObject(source, names, 'special_tokens_map.json')) ?? {}
  const variables = specialTokens(tokenizer, config, special)
  const own = choice ? [] : await ownTemplates(source, names, config)
  if (own.length === 0) {
    const builtIn = choice ?? (knowsChatml(tokenizer) ? 'chatml' : 'plain')
    const begins = tokenizer.bosId !== null && tokenizer.encode('')[0] === tokenizer.bosId
    const text = (begins ? '{{ bos_token }}' : '') + BUILT_IN_TEMPLATES[builtIn].source
    return new Template([{ name: 'default', text }], variables, builtIn)
  }
  return new Template(own, variables, null)
}

interface Named {
  name: string
  text: string
}

async function ownTemplates(
  source: FileSource,
  names: ReadonlySet<string>,
  config: Record<string, unknown>,
): Promise<Named[]> {
  if (names.has('chat_template.jinja')) {
    const main = await readTemplate(source, 'chat_template.jinja')
    const others = [...names].filter((name) => /^additional_chat_templates\/[^/]+\.jinja$/.test(name))
    const more = await Promise.all(
      others.map(async (name) => ({ name: name.slice(26, -6), text: await readTemplate(source, name) })),
    )
    return [{ name: 'default', text: main }, ...more]
  }
  const file = (await readObject(source, names, 'chat_template.json')) ?? {}
  const value = file.chat_template ?? config.chat_template
  if (typeof value === 'string' && value !== '') return [{ name: 'default', text: value }]
  if (!Array.isArray(value)) return []
  return value.flatMap((entry: unknown) => {
    const { name, template } = (entry ?? {}) as { name?: unknown; template?: unknown }
    return typeof name === 'string' && typeof template === 'string' ? [{ name, text: template }] : []
  })
}

async function readTemplate(source: FileSource, name: string): Promise<string> {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await source.read(name))
  } catch (cause) {
    if (cause instanceof CodedError) throw cause
    throw new CodedError('template.invalid', `${name} is not UTF-8 text.`, {
      where: name,
      fix: 'Save the file as UTF-8.',
      cause,
    })
  }
}

/** `bos_token`, `eos_token` and the like, as a template may use them. */
function specialTokens(
  tokenizer: Tokenizer,
  config: Record<string, unknown>,
  special: Record<string, unknown>,
): Record<string, unknown> {
  const written = (id: number | null) => (id === null ? undefined : tokenizer.tokenOf(id))
  const all: Record<string, unknown> = {
    bos_token: written(tokenizer.bosId),
    eos_token: written(tokenizer.eosId),
    pad_token: written(tokenizer.padId),
    ...tokenNames(special),
    ...tokenNames(config),
  }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}

function knowsChatml(tokenizer: Tokenizer): boolean {
  return ['<|im_start|>', '<|im_end|>'].every((token) => {
    const id = tokenizer.idOf(token)
    return id !== undefined && tokenizer.specialIds.has(id)
  })
}

class Template implements ChatTemplate {
  readonly source: string
  readonly builtIn: BuiltInTemplate | null
  private readonly templates: readonly Named[]
  private readonly variables: Record<string, unknown>
  private readonly compiled = new Map<string, CompiledTemplate>()

  constructor(templates: readonly Named[], variables: Record<string, unknown>, builtIn: BuiltInTemplate | null) {
    this.templates = templates
    this.variables = variables
    this.builtIn = builtIn
    this.source = this.pick(false).text
  }

  render(messages: readonly ChatMessage[], options: { addGenerationPrompt: boolean; tools?: unknown[] }): string {
    const { name, text } = this.pick(options.tools !== undefined)
    let template = this.compiled.get(name)
    if (!template) this.compiled.set(name, (template = new CompiledTemplate(text)))
    return template.render({
      ...this.variables,
      // Through JSON: a field that is undefined is not there at all, as in Python.
      messages: JSON.parse(JSON.stringify(messages)) as unknown,
      tools: options.tools ?? null,
      documents: null,
      add_generation_prompt: options.addGenerationPrompt,
    })
  }

  private pick(withTools: boolean): Named {
    const named = (name: string) => this.templates.find((template) => template.name === name)
    return (withTools ? named('tool_use') : undefined) ?? named('default') ?? this.templates[0]!
  }
}
