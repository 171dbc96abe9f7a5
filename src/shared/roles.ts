/** The table of row formats: what each is called and which columns it needs; recogniser and mapping form both read it. Refuses to look at rows. */
import type { Mapping, RowFormat } from './records'

export interface RoleInfo {
  name: string
  /** One phrase for the mapping form. */
  help: string
  required: boolean
}

export interface FormatInfo {
  format: RowFormat
  label: string
  /** One sentence for a newcomer. */
  help: string
  roles: readonly RoleInfo[]
}

/** Formats that rows can be written in. */
export const TARGET_FORMATS = [
  'alpaca',
  'sharegpt',
  'chat',
  'pair',
  'text',
  'tokens',
  'preference',
  'kto',
  'label',
] as const
export type TargetFormat = (typeof TARGET_FORMATS)[number]

const need = (name: string, help: string): RoleInfo => ({ name, help, required: true })
const may = (name: string, help: string): RoleInfo => ({ name, help, required: false })

/** Every format in the order in which a form lists them. Roles are the keys of `Mapping.columns`. */
export const FORMATS: readonly FormatInfo[] = [
  {
    format: 'alpaca',
    label: 'Instructions (Alpaca)',
    help: 'An instruction, perhaps with an input, and the answer to learn.',
    roles: [
      need('instruction', 'what is asked'),
      need('output', 'the answer to learn'),
      may('input', 'what the instruction is about'),
      may('system', 'a system message'),
      may('history', 'earlier turns as [question, answer] pairs'),
    ],
  },
  {
    format: 'sharegpt',
    label: 'Conversations (ShareGPT)',
    help: 'Turns written as from and value; the answers are learnt.',
    roles: [
      need('conversations', 'the turns'),
      may('system', 'a system message'),
      may('tools', 'tool definitions'),
      may('answer', 'one more turn to learn, kept in a column of its own'),
      may('desirable', 'rows where this is false are left out'),
    ],
  },
  {
    format: 'chat',
    label: 'Chat messages (OpenAI)',
    help: 'Turns written as role and content; the answers are learnt.',
    roles: [
      need('messages', 'the turns'),
      may('system', 'a system message'),
      may('tools', 'tool definitions'),
      may('answer', 'one more turn to learn, kept in a column of its own'),
      may('desirable', 'rows where this is false are left out'),
    ],
  },
  {
    format: 'pair',
    label: 'Prompt and completion',
    help: 'A prompt and the text that should follow it.',
    roles: [
      need('prompt', 'what the model is given'),
      need('completion', 'what it should learn to say'),
      may('desirable', 'rows where this is false are left out'),
    ],
  },
  { format: 'text', label: 'Plain text', help: 'Text to learn as a whole.', roles: [need('text', 'the text')] },
  {
    format: 'tokens',
    label: 'Token ids',
    help: 'Rows that were tokenised elsewhere, taken as they stand.',
    roles: [need('input_ids', 'the token ids'), may('labels', 'the labels, -100 where nothing is learnt')],
  },
  {
    format: 'label',
    label: 'Text and label',
    help: 'Texts with a class each; the model learns to answer with the class.',
    roles: [need('text', 'the text'), need('label', 'its class')],
  },
  {
    format: 'preference',
    label: 'Preferences',
    help: 'A better and a worse answer to the same prompt.',
    roles: [
      may('prompt', 'what was asked'),
      may('input', 'what the prompt is about'),
      need('chosen', 'the better answer'),
      need('rejected', 'the worse answer'),
    ],
  },
  {
    format: 'kto',
    label: 'Rated answers (KTO)',
    help: 'Answers that were marked as good or bad.',
    roles: [
      need('label', 'true for a good answer'),
      may('prompt', 'what was asked'),
      may('completion', 'the answer'),
      may('messages', 'the turns, ending in the answer'),
    ],
  },
]

/** The entry of one format; undefined for `unknown`. */
export function formatInfo(format: RowFormat): FormatInfo | undefined {
  return FORMATS.find((info) => info.format === format)
}

/**
 * For a person who says so: preference rows as their better answers, rated rows as their good answers, to be learnt like any others.
 * Other mappings come back as they are.
 */
export function asSupervised(mapping: Mapping): Mapping {
  const { prompt, input, chosen, completion, messages, label } = mapping.columns
  const { systemPrompt } = mapping
  const made = (format: RowFormat, roles: Record<string, string | undefined>): Mapping => ({
    format,
    columns: Object.fromEntries(
      Object.entries(roles).filter((entry): entry is [string, string] => entry[1] !== undefined),
    ),
    ...(systemPrompt === undefined ? {} : { systemPrompt }),
  })
  if (mapping.format === 'kto') {
    if (messages !== undefined) return made('chat', { messages, desirable: label })
    return made('pair', { prompt, completion, desirable: label })
  }
  if (mapping.format !== 'preference' || chosen === undefined) return mapping
  if (prompt === undefined) return made('chat', { messages: chosen })
  if (input !== undefined) return made('alpaca', { instruction: prompt, input, output: chosen })
  return made('pair', { prompt, completion: chosen })
}

/** A mapping for looking rows through: of a pair of answers the better one, of rated answers any. Others come back as they are. */
export function asRead(mapping: Mapping): Mapping {
  if (mapping.format !== 'preference' && mapping.format !== 'kto') return mapping
  const supervised = asSupervised(mapping)
  const { desirable: _rating, ...columns } = supervised.columns
  return { ...supervised, columns }
}
