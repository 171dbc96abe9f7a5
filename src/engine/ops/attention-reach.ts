/** Which keys a query sees, and how scores are made; the same for all kinds of attention here. Refuses to compute any. */
import type { tf } from '../tf'
import type { RowNumbers } from './heap'

export interface AttentionOptions {
  /** Factor of the scores, usually 1/sqrt(d). */
  scale: number
  /** Keys before the first query: query i sees keys 0 … past + i; keys from past + t on are a cache's empty slots. */
  past: number
  /** On a GPU: the past as int32 `[1]` on the device, read in place of `past`, which is then the number of now. Not for gradients. */
  here?: tf.Tensor1D
  /** Query i sees only the last `window` of those keys. */
  window?: number
  /** Scores become softcap · tanh(score / softcap) before the mask. */
  softcap?: number
  /**
   * For rows that hold several examples one after the other, `[b · t]`: the first key that each query sees, where its example
   * begins. Never falls along a row. Only without a past.
   */
  starts?: RowNumbers
}

/** First and last key that query i of batch row `b` sees. */
export function reach(b: number, i: number, time: number, options: AttentionOptions): [first: number, last: number] {
  const last = options.past + i
  const first = options.window === undefined ? 0 : Math.max(0, last - options.window + 1)
  return [Math.max(first, options.starts?.host[b * time + i] ?? 0), last]
}
