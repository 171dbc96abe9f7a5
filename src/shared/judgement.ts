/** What judging a run leaves on it: scores of base beside tuned, what was forgotten, votes. Refuses to hold behaviour. */
import type { Job } from './job'

/** A number and its 95% interval; the ends are NaN where one row is all there is. */
export interface Interval {
  value: number
  low: number
  high: number
}

/** What rows ask for, which decides the scores that mean something. */
export type JudgedTask = 'text' | 'answers' | 'json' | 'labels'

export type ScoreKey =
  | 'loss'
  | 'perplexity'
  | 'tokenAccuracy'
  | 'exact'
  | 'contains'
  | 'pattern'
  | 'jsonValid'
  | 'fields'
  | 'rougeL'
  | 'bleu'
  | 'chrf'
  | 'accuracy'
  | 'macroF1'
  | 'macroPrecision'
  | 'macroRecall'

/** One score of both models over the same rows. Shares and ROUGE are 0 to 1, BLEU and chrF 0 to 100, loss in nats a token. */
export interface Score {
  key: ScoreKey
  base: Interval
  tuned: Interval
  /** Tuned less base, row by row; it is sure where the interval leaves out 0. */
  difference: Interval
  /** The base with examples in its prompt instead of tuning, where that was asked for. */
  shots?: Interval
}

/** A row to read: what was asked and wanted, and what either model said. Texts are cut at 2,000 characters. */
export interface JudgedRow {
  /** 0-based number in its dataset. */
  index: number
  prompt: string
  wanted: string
  loss: { base: number; tuned: number }
  answers?: { base: string; tuned: string; shots?: string }
  /** How good the answers are by the score that leads, 0 to 1. */
  quality?: { base: number; tuned: number }
}

/** How either model does class by class. */
export interface LabelTable {
  label: string
  support: number
  base: { precision: number; recall: number; f1: number }
  tuned: { precision: number; recall: number; f1: number }
}

export interface LabelReport {
  classes: LabelTable[]
  /** Of the tuned model: `[true class][predicted class]`, the last column for answers that are no class. */
  confusion: number[][]
}

/** General text before and after the tuning. */
export interface Forgetting {
  /** Mean loss in nats a token. */
  base: Interval
  tuned: Interval
  /** Relative rise of perplexity: 0.1 where general text has become 10% harder to predict. */
  rise: Interval
  passages: number
}

export interface Judgement {
  version: 1
  /** ms since 1970. */
  at: number
  /** Which checkpoint was judged, and at which step it was made. */
  checkpoint: 'last' | 'best'
  step: number
  dataset: string
  /** Rows never trained on, the training rows where none were held back, or another dataset. */
  rows: 'held back' | 'trained on' | 'another dataset'
  task: JudgedTask
  /** Rows whose loss was measured, and rows that were answered. */
  measured: number
  answered: number
  /** The score that leads. */
  lead: ScoreKey
  scores: Score[]
  labels?: LabelReport
  /** Where the tuned model does best and worst. */
  best: JudgedRow[]
  worst: JudgedRow[]
  /** Examples in the prompt of the third column; 0 for none. */
  shots: number
  forgetting: Forgetting | null
}

/** What a judgement comes to, in one sentence, and what to do. */
export interface JudgementVerdict {
  tone: 'good' | 'fair' | 'poor'
  text: string
  advice?: string
  /** Settings for the next run. */
  change?: Partial<Job>
  changeText?: string
}

/** A blind comparison in Try. */
export interface Vote {
  at: number
  prompt: string
  winner: 'base' | 'tuned' | 'tie'
}

/** How far a module was moved: ‖ΔW‖, ‖W‖ and their ratio, Frobenius. */
export interface ModuleChange {
  layer: number
  /** The last part of its name: `q_proj`. */
  target: string
  change: number
  weight: number
  ratio: number
}

/** The adapter's change of its base at a checkpoint. */
export interface WeightChange {
  step: number
  modules: ModuleChange[]
}

/** What a rehearsal does: a few steps for the time, a small run, or one over all learning rates. */
export type RehearsalKind = 'time' | 'smoke' | 'range'

export interface RehearsalStep {
  step: number
  loss: number
  learningRate: number
}

/** What a few real steps have shown; nothing of them is kept but this. */
export interface Rehearsal {
  kind: RehearsalKind
  steps: RehearsalStep[]
  /** ms a step once warm, and of evaluating all validation rows once. */
  stepTime: number
  evalTime: number
  tokensPerSecond: number
  /** Seconds that the whole run would take here, with its evaluations. */
  seconds: number
  totalSteps: number
  /** Most bytes on the device meanwhile. */
  memory: number
  /** The learning rate that a range test suggests; null where the curve does not say. */
  suggested: number | null
}

/** What the base does with examples in its prompt, before anything is tuned. */
export interface PromptingTrial {
  /** Examples in the prompt. */
  shots: number
  answered: number
  /** The score that leads. */
  key: ScoreKey
  without: Interval
  withExamples: Interval
  /** With less without, row by row. */
  difference: Interval
  /** Rows to read. */
  rows: { prompt: string; wanted: string; without: string; withExamples: string }[]
}
