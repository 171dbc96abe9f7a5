/**
 * Direct preference optimisation (Rafailov et al. 2023), with its conservative form for pairs that may be the wrong way round (Mitchell
 * 2023) and an SFT term. Refuses other divergences than the reverse KL. Source: trl dpo_trainer.py, loss types "sigmoid" and "sft".
 */
import type { Job } from '../../../shared/job'
import { answerLoss, logSigmoid, pairOf, sigmoid, sumUp, type Objective } from './verdict'

/** −(1−ε)·log σ(β·Δ) − ε·log σ(−β·Δ) + weight·(mean loss of the better answers' tokens), Δ = ratio of the better − ratio of the worse. */
export function dpo({ beta, wrongPairs, sftWeight }: Pick<Job, 'beta' | 'wrongPairs' | 'sftWeight'>): Objective {
  return {
    needsReference: true,
    unmatched: false,
    judge(rows) {
      const sft = answerLoss(rows)
      return sumUp(
        rows.map((row) => {
          const [better, worse] = pairOf(row)
          const rewards = [beta * (better.logp - better.reference), beta * (worse.logp - worse.reference)] as const
          const z = rewards[0] - rewards[1]
          const slope = beta * (wrongPairs * sigmoid(z) - (1 - wrongPairs) * sigmoid(-z))
          return {
            loss: -(1 - wrongPairs) * logSigmoid(z) - wrongPairs * logSigmoid(-z) + sftWeight * sft.loss,
            slopes: [slope + sftWeight * sft.slope, -slope],
            rewards,
          }
        }),
      )
    },
  }
}
