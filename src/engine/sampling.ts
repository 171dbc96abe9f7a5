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
  const top = scores[argMax(scores)] as number
  const weights = Float64Array.from(scores, (score) => Math.exp((score - top) / temperature))
  let kept: Kept = { above: Number.NEGATIVE_INFINITY, equals: 0 }
  if (topK > 0 && topK < scores.length) kept = likeliest(scores, topK)
  if (topP < 1) kept = nucleus(scores, weights, kept, topP)
  return draw(scores, weights, kept, Math.fround(random()))
}

/** The tokens that may be drawn: those with scores above one, and the first few that equal it. */
interface Kept {
  readonly above: number
  readonly equals: number
}

/** Their ids in order. */
function idsOf(scores: Float32Array, { above, equals }: Kept): Uint32Array {
  let left = equals
  return Uint32Array.from(scores.keys()).filter((id) => {
    const score = scores[id] as number
    return score > above || (score === above && left-- > 0)
  })
}

/** The k largest scores; the first of equals. */
function likeliest(scores: Float32Array, k: number): Kept {
  const above = Float32Array.from(scores).sort()[scores.length - k] as number
  return { above, equals: k - scores.reduce((count, score) => (score > above ? count + 1 : count), 0) }
}

/** The smallest set of the likeliest among the kept whose share of their weight reaches `share`; never empty. */
function nucleus(scores: Float32Array, weights: Float64Array, kept: Kept, share: number): Kept {
  const ids = idsOf(scores, kept)
  const total = ids.reduce((sum, id) => sum + (weights[id] as number), 0)
  // Tokens below this weigh less than 1 - share together, so none of them is needed; only the others are sorted.
  const floor = ((1 - share) * total) / ids.length
  const order = ids.filter((id) => (weights[id] as number) >= floor)
  order.sort((a, b) => (scores[b] as number) - (scores[a] as number))
  let count = 0
  for (let sum = 0; count < order.length && (count === 0 || sum < share * total); count++)
    sum += weights[order[count] as number] as number
  const above = scores[order[count - 1] as number] as number
  return { above, equals: order.subarray(0, count).filter((id) => scores[id] === above).length }
}

/** One of the kept by their weights, in the order of their ids, at `at` in [0, 1) of their sum. */
function draw(scores: Float32Array, weights: Float64Array, kept: Kept, at: number): number {
  const ids = idsOf(scores, kept)
  let left = at * ids.reduce((sum, id) => sum + (weights[id] as number), 0)
  for (const id of ids) {
    left -= weights[id] as number
    if (left < 0) return id
  }
  return ids[ids.length - 1] as number
}

/** The position of the largest value; the first of equals. */
export function argMax(values: Float32Array): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if ((values[i] as number) > (values[best] as number)) best = i
  return best
}
