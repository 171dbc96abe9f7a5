/** What each finding of an audit is called, how bad it is, and what can be done about it. Refuses to do it. */
import type { AuditSummary, TableRow } from '../shared/protocol'
import type { FindingKind } from '../shared/audit'
import { counted, count } from '../shared/format'
import { formatInfo } from '../shared/roles'
import type { Step } from '../shared/steps'

export interface Fix {
  label: string
  /** What the notice says afterwards. */
  said: string
  steps: Step[]
}

interface FindingInfo {
  kind: FindingKind
  tone: 'poor' | 'fair'
  /** "12 rows repeat another word for word". */
  title: (rows: number) => string
  /** Why it matters, in one sentence. */
  why: string
  fixes: (rows: number) => Fix[]
  /** Whether the first fix loses nothing that anyone would want. */
  certain?: boolean
}

const drop = (findings: FindingKind[], keep?: 'first' | 'longest'): Step =>
  keep ? { kind: 'drop-findings', findings, keep } : { kind: 'drop-findings', findings }
const leaveOut = (kind: FindingKind) => (rows: number) => [
  { label: rows === 1 ? 'Leave it out' : 'Leave them out', said: `${counted(rows, 'row')} left out.`, steps: [drop([kind])] }, // prettier-ignore
]
const oneOfEach = (kind: FindingKind) => (rows: number) => [
  { label: 'Keep one of each', said: `${counted(rows, 'row')} left out.`, steps: [drop([kind])] },
]
const title =
  (one: string, many: string, noun: [string, string] = ['row', 'rows']) =>
  (rows: number) =>
    `${count(rows)} ${rows === 1 ? `${noun[0]} ${one}` : `${noun[1]} ${many}`}`

/** Every kind of finding, worst first. */
export const FINDINGS: readonly FindingInfo[] = [
  {
    kind: 'unusable',
    tone: 'poor',
    title: title('cannot be used', 'cannot be used'),
    why: 'Training skips them: a column is empty or is not what it should be.',
    fixes: leaveOut('unusable'),
    certain: true,
  },
  {
    kind: 'no-trained-tokens',
    tone: 'poor',
    title: title('has nothing to learn', 'have nothing to learn'),
    why: 'No token of the answer is left within the maximum length.',
    fixes: leaveOut('no-trained-tokens'),
    certain: true,
  },
  {
    kind: 'conflict',
    tone: 'poor',
    title: title('contradicts another', 'contradict another'),
    why: 'The same prompt has different answers; the model learns a blur of them.',
    fixes: (rows) => [
      { label: 'Keep the first answer', said: `${counted(rows, 'row')} left out.`, steps: [drop(['conflict'], 'first')] }, // prettier-ignore
      { label: 'Keep the longest', said: `${counted(rows, 'row')} left out.`, steps: [drop(['conflict'], 'longest')] },
    ],
  },
  {
    kind: 'leak',
    tone: 'poor',
    title: title('is also trained on', 'are also trained on', ['validation row', 'validation rows']),
    why: 'Validation looks better than it is, because the model has seen these very rows.',
    fixes: () => [
      {
        label: 'Keep one of each',
        said: 'Rows that repeat another left out.',
        steps: [drop(['exact-duplicate', 'near-duplicate', 'conflict'])],
      },
    ],
  },
  {
    kind: 'exact-duplicate',
    tone: 'poor',
    title: title('repeats another word for word', 'repeat another word for word'),
    why: 'What is said twice is learnt twice.',
    fixes: oneOfEach('exact-duplicate'),
    certain: true,
  },
  {
    kind: 'near-duplicate',
    tone: 'fair',
    title: title('nearly repeats another', 'nearly repeat another'),
    why: 'At least 80% the same, with the same numbers.',
    fixes: oneOfEach('near-duplicate'),
  },
  {
    kind: 'personal',
    tone: 'poor',
    title: title('holds personal data', 'hold personal data'),
    why: 'E-mail addresses, phone, card or account numbers, or keys: a model can repeat them word for word.',
    fixes: (rows) => [
      {
        label: 'Mask it',
        said: `Personal data masked in ${counted(rows, 'row')}.`,
        steps: [{ kind: 'mask-personal', kinds: ['email', 'phone', 'card', 'iban', 'key'] }],
      },
      ...leaveOut('personal')(rows),
    ],
    certain: true,
  },
  {
    kind: 'placeholder',
    tone: 'poor',
    title: title('still holds a placeholder', 'still hold placeholders', ['answer', 'answers']),
    why: 'The model would learn to say it.',
    fixes: leaveOut('placeholder'),
  },
  {
    kind: 'missing-end',
    tone: 'fair',
    title: title('ends without an end token', 'end without an end token'),
    why: 'From these the model does not learn to stop.',
    fixes: leaveOut('missing-end'),
  },
  {
    kind: 'truncated',
    tone: 'fair',
    title: title('is cut off', 'are cut off'),
    why: 'They are longer than the maximum length and lose their end.',
    fixes: leaveOut('truncated'),
  },
  {
    kind: 'unknown-characters',
    tone: 'fair',
    title: title('has characters that the model does not know', 'have characters that the model does not know'),
    why: 'Its tokenizer cannot carry them, so they are lost.',
    fixes: leaveOut('unknown-characters'),
  },
  {
    kind: 'refusal',
    tone: 'fair',
    title: title('declines to answer', 'decline to answer', ['answer', 'answers']),
    why: 'The model learns to decline, too; keep them only if it should.',
    fixes: leaveOut('refusal'),
  },
  {
    kind: 'language',
    tone: 'fair',
    title: title('is in another language', 'are in another language'),
    why: 'Nearly all others are in one; a few strays teach little.',
    fixes: leaveOut('language'),
  },
  {
    kind: 'licence',
    tone: 'fair',
    title: title('carries a licence note', 'carry a licence note'),
    why: 'Somebody’s copyright or conditions stand in the text: make sure that you may use it, and that the model should repeat them.',
    fixes: leaveOut('licence'),
  },
  {
    kind: 'boilerplate',
    tone: 'fair',
    title: title('has a stock phrase', 'share stock phrases', ['answer', 'answers']),
    why: 'The model will begin or end its answers like this, too.',
    fixes: () => [],
  },
]

/** The kinds that an audit found, worst first. */
export function foundOf(summary: AuditSummary): { info: FindingInfo; rows: number }[] {
  return FINDINGS.map((info) => ({ info, rows: summary.counts[info.kind] })).filter(({ rows }) => rows > 0)
}

/** Where a row that was not in the file comes from. */
export function originText(origin: NonNullable<TableRow['origin']>): string {
  return origin === 'hand'
    ? 'Written here.'
    : `A variation of row ${count(origin.row + 1)}, written by ${origin.model}.`
}

/** One step in words, for the list. */
export function stepText(step: Step): string {
  switch (step.kind) {
    case 'map':
      return `Took the rows for ${formatInfo(step.mapping.format)?.label ?? 'nothing known'}${columnsText(step.mapping.columns)}`
    case 'system-prompt':
      return `Put a system message before each row: “${step.text.slice(0, 60)}”`
    case 'template':
      return `Made the column ${step.column} from “${step.template.slice(0, 60)}”`
    case 'rename-column':
      return `Renamed the column ${step.from} to ${step.to}`
    case 'rename-role':
      return `Renamed the role ${step.from} to ${step.to}`
    case 'trim':
      return 'Trimmed white space'
    case 'replace':
      return `Replaced “${step.find.slice(0, 40)}” by “${step.replacement.slice(0, 40)}”`
    case 'mask-personal':
      return `Masked personal data (${step.kinds.join(', ')})`
    case 'drop-findings':
      return dropText(step)
    case 'drop-shared':
      return `Left out rows that ${step.name} has too`
    case 'sample':
      return `Took a sample of ${counted(step.rows, 'row')} (seed ${step.seed})`
    case 'edit-row':
      return `Edited row ${count(step.row + 1)} of the file`
    case 'delete-rows':
      return step.rows.length === 1
        ? `Deleted row ${count((step.rows[0] ?? 0) + 1)} of the file`
        : `Deleted ${counted(step.rows.length, 'row')}`
    case 'add-rows':
      if (step.origin)
        return `Accepted a variation of row ${count(step.origin.row + 1)} of the file, written by ${step.origin.model}`
      return `Wrote ${counted(step.rows.length, 'row')}`
  }
}

const DROPPED: Record<FindingKind, string> = {
  unusable: 'that cannot be used',
  'no-trained-tokens': 'with nothing to learn',
  'exact-duplicate': 'that repeat another word for word',
  'near-duplicate': 'that nearly repeat another',
  conflict: 'that contradict another',
  leak: 'that are in validation and in training',
  truncated: 'that are cut off',
  'missing-end': 'without an end token',
  'unknown-characters': 'with characters that the model does not know',
  personal: 'with personal data',
  placeholder: 'with placeholders',
  refusal: 'that decline to answer',
  licence: 'with a licence note',
  boilerplate: 'with stock phrases',
  language: 'in another language',
}

function dropText({ findings, keep }: Extract<Step, { kind: 'drop-findings' }>): string {
  const kept =
    keep === 'longest' ? ', keeping the longest answer' : keep === 'first' ? ', keeping the first answer' : ''
  return `Left out rows ${findings.map((kind) => DROPPED[kind]).join(', or ')}${kept}`
}

/** Which columns stand for which roles, where their names differ; empty where they do not. */
export function columnsText(columns: Record<string, string>): string {
  const renamed = Object.entries(columns).filter(([role, column]) => role !== column)
  return renamed.length > 0 ? `: ${renamed.map(([role, column]) => `${role} from ${column}`).join(', ')}` : ''
}
