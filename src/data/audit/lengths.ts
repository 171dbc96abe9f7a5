/** Token lengths of rows and answers: how they lie, where to cut, how much of a batch is padding. Refuses to keep the tokens. */
import { paddingShares, type PaddingShares } from '../batch/padding'
import { histogram, quantile } from '../stats'
import type { EncodedExample } from '../types'
import type { Distribution } from './types'

export class Lengths {
  readonly #rows: number[] = []
  readonly #answers: number[] = []

  add(encoded: EncodedExample): void {
    this.#rows.push(encoded.inputIds.length + encoded.truncated)
    this.#answers.push(encoded.trainedTokens)
  }

  distributions(): { rows: Distribution; answers: Distribution } {
    return { rows: distribution(this.#rows), answers: distribution(this.#answers) }
  }

  /** Enough for 99 rows of 100, rounded up to a multiple of 32; 0 without rows. */
  suggestion(): number {
    return Math.ceil(quantile(Float64Array.from(this.#rows).sort(), 0.99) / 32) * 32
  }

  /** Share of the tokens of a pass that only fill batches up. */
  padding(batchSize: number, maxLength: number, seed: number): PaddingShares {
    return paddingShares(
      this.#rows.map((length) => Math.min(length, maxLength)),
      { batchSize, shuffle: true, seed },
    )
  }
}

function distribution(values: readonly number[]): Distribution {
  const sorted = Float64Array.from(values).sort()
  return {
    min: sorted[0] ?? 0,
    median: quantile(sorted, 0.5),
    p95: quantile(sorted, 0.95),
    max: sorted.at(-1) ?? 0,
    histogram: histogram(sorted),
  }
}
