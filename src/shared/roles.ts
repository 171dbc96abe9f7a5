/**
 * The roles that a row format has for columns, as {@link Mapping.columns} names them: the mapping form, its check and the
 * recogniser all read this table. Refuses to look at rows.
 */
import type { RowFormat } from './records'

export interface Role {
  /** Key in `Mapping.columns`. */
  role: string
  /** What a person sees. */
  label: string
  required: boolean
}

const must = (role: string, label: string): Role => ({ role, label, required: true })
const may = (role: string, label: string): Role => ({ role, label, required: false })

/** Format → its roles, the required ones first. */
export const FORMAT_ROLES: { readonly [F in RowFormat]: readonly Role[] } = {
  pair: [must('prompt', 'Prompt'), must('completion', 'Answer'), may('system', 'System message')],
  alpaca: [
    must('instruction', 'Instruction'),
    must('output', 'Answer'),
    may('input', 'Input'),
    may('system', 'System message'),
    may('history', 'Earlier turns'),
  ],
  chat: [must('messages', 'Messages'), may('tools', 'Tools')],
  sharegpt: [must('conversations', 'Conversation'), may('system', 'System message'), may('tools', 'Tools')],
  text: [must('text', 'Text')],
  tokens: [must('input_ids', 'Token ids'), may('labels', 'Labels')],
  preference: [may('prompt', 'Prompt'), must('chosen', 'Better answer'), must('rejected', 'Worse answer')],
  kto: [must('prompt', 'Prompt'), must('completion', 'Answer'), must('label', 'Thumbs up or down')],
  label: [must('text', 'Text'), must('label', 'Label')],
  unknown: [],
}

/** Format → its name for a person. */
export const FORMAT_NAMES: { readonly [F in RowFormat]: string } = {
  pair: 'Prompt and answer',
  alpaca: 'Alpaca instructions',
  chat: 'Chat messages',
  sharegpt: 'ShareGPT conversations',
  text: 'Plain text',
  tokens: 'Token ids',
  preference: 'Preference pairs',
  kto: 'Rated answers (KTO)',
  label: 'Text and label',
  unknown: 'Not recognised',
}
