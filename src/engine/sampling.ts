/** From scores to a token: repetition penalty, temperature, top-k, top-p, seeded. Refuses state beyond the random stream it is given. */

/** What is looked at when a token is drawn; see `Sampling` in shared/protocol.ts. */
export interface SamplingSettings {
  /** 0 takes the likeliest token. */
  readonly temperature: number
  /** 0 is off. */
  readonly topK: number
  /** 1 is off. */
  readonly topP: number
  /** 1 is off. */
  readonly repetitionPenalty: number
}

/**
 * The next token. Order of the filters as in transformers: penalty, temperature, top-k, top-p.
 * @param scores `[vocabulary]`; changed in place.
 * @param seen ids that the penalty applies to (Keskar et al. 2019: positive scores divided, negative multiplied).
 * @param random a number in [0, 1).
 */
export function sampleToken(
  scores: Float32Array,
  seen: ReadonlySet<number>,
  settings: SamplingSettings,
  random: () => number,
): number {
  const { temperature, topK, topP, repetitionPenalty } = settings
  if (repetitionPenalty !== 1) {
    for (const id of seen) {
      const score = scores[id]
      if (score === undefined) continue
      scores[id] = score > 0 ? score / repetitionPenalty : score * repetitionPenalty
    }
  }
  if (temperature <= 0) return argMax(scores)
  let order = Uint32Array.from(scores, (_, i) => i)
  // Ties are broken by id so that the same scores always give the same order.
  order.sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b)
  if (topK > 0) order = order.subarray(0, topK)
  const top = scores[order[0] as number] as number
  const weights = Float64Array.from(order, (id) => Math.exp(((scores[id] as number) - top) / temperature))
  let total = weights.reduce((sum, weight) => sum + weight, 0)
  let kept = weights.length
  if (topP < 1) {
    let sum = 0
    kept = 0
    while (kept < weights.length && (kept === 0 || sum < topP * total)) sum += weights[kept++] as number
    total = sum
  }
  let left = random() * total
  for (let i = 0; i < kept; i++) {
    left -= weights[i] as number
    if (left < 0) return order[i] as number
  }
  return order[kept - 1] as number
}

/** The position of the largest value; the first of equals. */
export function argMax(values: Float32Array): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if ((values[i] as number) > (values[best] as number)) best = i
  return best
}
