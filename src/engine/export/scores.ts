/**
 * What a model makes of a few tokens, for comparing an export with base and adapter. Needs a device. Refuses a difference that the
 * export's type does not explain.
 */
import type { Trainable } from '../adapters/trainable'
import { withGuard } from '../device-guard'
import type { Model } from '../models/model'
import type { Pass } from '../nn/network'
import { virtualStart } from '../nn/virtual'
import { logits } from '../ops'
import { tf } from '../tf'
import { differenceText, differs } from './compare'

/** Tokens of the probe. */
const PROBE = 24

/** Ids all over a vocabulary, the same each time. */
export function probeIds({ record }: Pick<Model, 'record'>): number[] {
  const count = Math.min(PROBE, record.context)
  return Array.from({ length: count }, (_, i) => (i * 131 + 17) % record.vocabulary)
}

/** Scores `[ids, vocabulary]`, row by row. Forces a sync with the device. */
export async function scoresOf(
  { network }: Pick<Model, 'network'>,
  adapter: Trainable | null,
  ids: readonly number[],
): Promise<Float32Array> {
  const virtual = adapter?.virtual ?? 0
  const seq = virtual + ids.length
  return withGuard(async () => {
    const scores = tf.tidy(() => {
      const overlay = adapter && adapter.overlay()
      const pass: Pass = { batch: 1, seq, past: 0, overlay, caches: null, virtual: virtualStart(seq, virtual) }
      let x = network.embed(tf.tensor1d([...new Array<number>(virtual).fill(0), ...ids], 'int32'), pass)
      for (let layer = 0; layer < network.layers; layer++) {
        const input = x
        x = tf.tidy(() => network.layer(layer, input, pass))
        input.dispose()
      }
      if (virtual > 0) x = tf.slice(x, [virtual, 0])
      return logits(network.finish(x, pass), network.head(pass), network.logitCap)
    })
    const values = (await scores.data()) as Float32Array
    scores.dispose()
    return values
  })
}

/** Largest difference of any score, relative to the largest score, that a type may have. */
const TOLERANCE: Readonly<Record<string, number>> = { F32: 1e-3, F16: 0.02, BF16: 0.1 }

/**
 * One sentence with the largest difference of any score.
 * @param dtype how the written model stores most of its weights; packed ones are only reported.
 * @throws CodedError `export.verify`
 */
export function compareScores(
  wanted: Float32Array,
  written: Float32Array,
  dtype: string,
): { largestDifference: number; text: string } {
  if (wanted.length !== written.length || wanted.length === 0) throw differs('logits')
  let largest = 0
  let size = 0
  for (let i = 0; i < wanted.length; i++) {
    const difference = Math.abs((wanted[i] as number) - (written[i] as number))
    if (!(difference <= largest)) largest = difference
    size = Math.max(size, Math.abs(wanted[i] as number))
  }
  if (!(largest <= (TOLERANCE[dtype] ?? Infinity) * Math.max(1, size)))
    throw differs(`logits: a difference of ${largest}`)
  const text = `Its logits differ from those of base + adapter by at most ${differenceText(largest)}.`
  return { largestDifference: largest, text }
}
