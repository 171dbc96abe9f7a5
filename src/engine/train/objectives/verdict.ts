/**
 * What a run over preferences minimises: a loss from the log-probabilities of whole answers, on the host, with its slopes. Refuses tensors:
 * how an answer's log-probability changes with the adapter is backprop's to say.
 */
import type { EncodedRow } from '../../../shared/records'

/** An answer under the model as it is, and as it was at the start of the run. */
export interface Answer {
  /** Sum of the log-probabilities of its tokens, in nats. */
  readonly logp: number
  readonly reference: number
  readonly tokens: number
}

/** A row's answers in the order of {@link answersOf}, and what it is compared with. */
export interface Judged {
  readonly row: EncodedRow
  readonly answers: readonly Answer[]
  /** See {@link Objective.unmatched}. */
  readonly unmatched: Answer | null
}

export interface Verdict {
  /** Sum of the rows' losses. */
  readonly loss: number
  /** For each row the derivative of that sum by the log-probability of each of its answers. */
  readonly slopes: number[][]
  /** Implicit rewards of the better and of the worse answers. */
  readonly good: number[]
  readonly bad: number[]
  /** Rows that are on the right side: the better answer has the higher reward. */
  readonly right: number
}

export interface Objective {
  /** Whether it looks at log-probabilities of the start. */
  readonly needsReference: boolean
  /** Whether it looks at prompts with the answers of other rows, without learning from them. */
  readonly unmatched: boolean
  judge(rows: readonly Judged[]): Verdict
}

/** log σ(x) without overflow. */
export function logSigmoid(x: number): number {
  return x >= 0 ? -Math.log1p(Math.exp(-x)) : x - Math.log1p(Math.exp(x))
}

/** 1 / (1 + e⁻ˣ). */
export function sigmoid(x: number): number {
  return x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x))
}

/** The two answers of a row. */
export function pairOf({ answers }: Judged): readonly [Answer, Answer] {
  return answers as unknown as readonly [Answer, Answer]
}

/** Verdict on pairs from what is said of each; rewards are those of the better and the worse answer. */
export function sumUp(
  parts: readonly { loss: number; slopes: number[]; rewards: readonly [number, number] }[],
): Verdict {
  return {
    loss: parts.reduce((sum, { loss }) => sum + loss, 0),
    slopes: parts.map(({ slopes }) => slopes),
    good: parts.map(({ rewards }) => rewards[0]),
    bad: parts.map(({ rewards }) => rewards[1]),
    right: parts.filter(({ rewards }) => rewards[0] > rewards[1]).length,
  }
}

/** The better answers' mean loss a token, over all rows, as a share of it for each of `rows` rows: what TRL adds as an SFT term. */
export function answerLoss(rows: readonly Judged[]): { loss: number; slope: number } {
  const better = rows.map((row) => pairOf(row)[0])
  const tokens = better.reduce((sum, answer) => sum + answer.tokens, 0)
  const total = better.reduce((sum, answer) => sum - answer.logp, 0)
  return { loss: total / tokens, slope: -rows.length / tokens }
}
