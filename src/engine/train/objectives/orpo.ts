/**
 * Odds ratio preference optimisation (Hong et al. 2024): learning the better answer and keeping away from the worse at once, without a
 * reference. Refuses to train prompts: the loss of the better answer is over its labels. Source: trl orpo_trainer.py, odds_ratio_loss.
 */
import type { Job } from '../../../shared/job'
import { answerLoss, logSigmoid, pairOf, sigmoid, sumUp, type Objective } from './verdict'

/** log(1 − eˣ) for x < 0 without cancellation. */
function log1mExp(x: number): number {
  return x > -Math.LN2 ? Math.log(-Math.expm1(x)) : Math.log1p(-Math.exp(x))
}

/** Mean loss of the better answers' tokens − β·log σ(log odds of the better − log odds of the worse), odds of mean log-probabilities. */
export function orpo({ beta }: Pick<Job, 'beta'>): Objective {
  return {
    needsReference: false,
    unmatched: false,
    judge(rows) {
      const sft = answerLoss(rows)
      return sumUp(
        rows.map((row) => {
          const [better, worse] = pairOf(row)
          const [b, w] = [better.logp / better.tokens, worse.logp / worse.tokens]
          const ratio = b - w - (log1mExp(b) - log1mExp(w))
          const slope = -beta * sigmoid(-ratio)
          return {
            loss: sft.loss - beta * logSigmoid(ratio),
            slopes: [slope / (-Math.expm1(b) * better.tokens) + sft.slope, -slope / (-Math.expm1(w) * worse.tokens)],
            rewards: [beta * b, beta * w] as const,
          }
        }),
      )
    },
  }
}
