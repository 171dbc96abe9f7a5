/** How much of general text a tuning has cost: a fixed probe, scored before and after. Refuses to be trained on. */
import { evaluate, type Trainable, type Model } from '../engine'
import { bootstrap, bootstrapMean, meanOf } from '../insight/metrics/interval'
import type { OnProgress } from '../shared/files'
import type { Forgetting } from '../shared/judgement'
import type { EncodedRow } from '../shared/records'
import type { Turn } from './turn'
import { PROBE } from './probe'

/** Passages are cut here, so that large models are asked in bearable time. */
const MOST_TOKENS = 192
/** Passages measured in one turn. */
const STRIDE = 4

/** Scores the probe with both models. Each passage counts once, whatever its length. */
export async function measureForgetting(
  model: Model,
  adapter: Trainable,
  turn: Turn,
  onProgress?: OnProgress,
  signal?: AbortSignal,
): Promise<Forgetting> {
  const rows = PROBE.map((text, index): EncodedRow => {
    const ids = model.tokenizer.encode(text).slice(0, Math.min(MOST_TOKENS, model.network.positions))
    return { index, inputIds: Int32Array.from(ids), labels: Int32Array.from(ids) }
  }).filter((row) => row.inputIds.length > 1)
  const losses = { base: [] as number[], tuned: [] as number[] }
  for (let from = 0; from < rows.length; from += STRIDE) {
    signal?.throwIfAborted()
    const part = rows.slice(from, from + STRIDE)
    for (const [side, by] of [
      ['base', null],
      ['tuned', adapter],
    ] as const) {
      const result = await turn(() => evaluate(model, by, part))
      losses[side].push(...result.rows.map((row) => row.loss))
    }
    onProgress?.({
      stage: 'Reading general text',
      done: Math.min(rows.length, from + STRIDE),
      total: rows.length,
      unit: 'items',
    })
  }
  return forgettingOf(losses.base, losses.tuned)
}

/** From each passage's losses before and after. */
function forgettingOf(base: readonly number[], tuned: readonly number[]): Forgetting {
  return {
    base: bootstrapMean(base),
    tuned: bootstrapMean(tuned),
    rise: bootstrap(base.length, (indices) => Math.exp(meanOf(tuned, indices) - meanOf(base, indices)) - 1),
    passages: base.length,
  }
}
