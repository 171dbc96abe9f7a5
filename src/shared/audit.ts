/** What an audit of a dataset says: per row, in total, and in one sentence. Refuses to hold behaviour. */

export type PersonalKind = 'email' | 'phone' | 'card' | 'iban' | 'key'

/** Faults a row can have; the first group makes a row useless, the second is worth a look. */
export type FindingKind =
  | 'unusable'
  | 'no-trained-tokens'
  | 'exact-duplicate'
  | 'near-duplicate'
  | 'conflict'
  | 'leak'
  | 'truncated'
  | 'missing-end'
  | 'unknown-characters'
  | 'personal'
  | 'placeholder'
  | 'refusal'
  | 'licence'
  | 'boilerplate'
  | 'language'

export interface Finding {
  kind: FindingKind
  /** 0-based number of the row; validation rows of their own count from 0 again, with `side: 'eval'`. */
  row: number
  side: 'train' | 'eval'
  /** What is wrong, in one sentence. */
  text: string
  /** The earlier row that it repeats or contradicts. */
  of?: number
  /** Whether that row is a validation row of its own file. */
  ofSide?: 'train' | 'eval'
  /** Kinds of personal data. */
  personal?: PersonalKind[]
}

export interface Distribution {
  min: number
  median: number
  p95: number
  max: number
  histogram: { from: number; to: number; rows: number }[]
}

export interface AuditReport {
  /** Rows of the dataset; those of a validation file are not counted. */
  rows: number
  /** Rows without a fault that makes them useless. */
  goodRows: number
  /** Findings on rows of the dataset, and leaks on either side. */
  counts: Record<FindingKind, number>
  /** Sorted by row. */
  findings: Finding[]
  /** Prompts with several answers. */
  conflictingPrompts: number
  /** Tokens a row and tokens an answer; null without a tokenizer. */
  lengths: { rows: Distribution; answers: Distribution } | null
  /** A maximum length that cuts hardly a row; null without a tokenizer. */
  suggestedMaxLength: number | null
  /** Share of a batch that is padding: as rows come, grouped by length, and packed; null without a tokenizer. */
  padding: { shuffled: number; bucketed: number; packed: number } | null
  /** Language code → rows; '' where the text does not tell. */
  languages: Record<string, number>
  /** Answer → rows, for classes; null for other datasets. */
  classes: Record<string, number> | null
  /** Phrases that many answers share. */
  phrases: { text: string; rows: number }[]
  /** Lost character → rows. */
  lostCharacters: Record<string, number>
  verdict: string
  tone: 'good' | 'fair' | 'poor'
}
