/** Token lengths of rows and answers: how they lie, where to cut, how much of a batch is padding. Refuses to keep the tokens. */
import { permutation } from '../batch/random'
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

  /** Share of the tokens of a pass that only fill batches up: in a seeded order, and with rows of like length together. */
  padding(batchSize: number, maxLength: number, seed: number): { shuffled: number; bucketed: number } {
    const lengths = this.#rows.map((length) => Math.min(length, maxLength))
    const shuffled = [...permutation(lengths.length, seed)].map((i) => lengths[i] as number)
    const sorted = [...lengths].sort((a, b) => a - b)
    return { shuffled: waste(shuffled, batchSize), bucketed: waste(sorted, batchSize) }
  }
}

function waste(lengths: readonly number[], batchSize: number): number {
  let filled = 0
  let room = 0
  for (let at = 0; at < lengths.length; at += batchSize) {
    const batch = lengths.slice(at, at + batchSize)
    filled += batch.reduce((sum, length) => sum + length, 0)
    room += batch.length * Math.max(...batch)
  }
  return room === 0 ? 0 : 1 - filled / room
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
