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
  const weightOf = (id: number): number => Math.exp(((scores[id] as number) - top) / temperature)
  const candidates = topK > 0 && topK < scores.length ? likeliest(scores, topK) : Uint32Array.from(scores, (_, i) => i)
  const all = Float64Array.from(candidates, weightOf)
  return topP < 1 ? drawFromNucleus(candidates, all, topP, random) : draw(candidates, all, random)
}

/** The ids of the k largest scores; the first of equals. */
function likeliest(scores: Float32Array, k: number): Uint32Array {
  const threshold = Float32Array.from(scores).sort()[scores.length - k] as number
  let equals = k - scores.reduce((count, score) => (score > threshold ? count + 1 : count), 0)
  const kept: number[] = []
  scores.forEach((score, id) => {
    if (score > threshold || (score === threshold && equals-- > 0)) kept.push(id)
  })
  return Uint32Array.from(kept)
}

function draw(ids: Uint32Array, weights: Float64Array, random: () => number): number {
  let left = random() * weights.reduce((sum, weight) => sum + weight, 0)
  for (let i = 0; i < ids.length; i++) {
    left -= weights[i] as number
    if (left < 0) return ids[i] as number
  }
  return ids[ids.length - 1] as number
}

/** Draws from the smallest set of likeliest tokens whose share reaches `share`. */
function drawFromNucleus(ids: Uint32Array, weights: Float64Array, share: number, random: () => number): number {
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  // Tokens below this weigh less than 1 - share together, so none of them is needed; only the others are sorted.
  const floor = ((1 - share) * total) / ids.length
  const order = Uint32Array.from(ids.keys()).filter((i) => (weights[i] as number) >= floor)
  order.sort((a, b) => (weights[b] as number) - (weights[a] as number) || a - b)
  let kept = 0
  for (let sum = 0; kept < order.length && (kept === 0 || sum < share * total); kept++)
    sum += weights[order[kept] as number] as number
  const nucleus = order.subarray(0, kept)
  return draw(
    Uint32Array.from(nucleus, (i) => ids[i] as number),
    Float64Array.from(nucleus, (i) => weights[i] as number),
    random,
  )
}

/** The position of the largest value; the first of equals. */
export function argMax(values: Float32Array): number {
  let best = 0
  for (let i = 1; i < values.length; i++) if ((values[i] as number) > (values[best] as number)) best = i
  return best
}
