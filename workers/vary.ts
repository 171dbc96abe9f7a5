/** Variations of a row from a model, with a run's adapter or without, told one by one. Refuses to put any into the dataset. */
import { asSupervised, drawExamples, readVariation, sameKey, sidesOf, variationPrompt } from '../src/data'
import { generate, loadTrainable, type Model } from '../src/engine'
import { CodedError } from '../src/shared/errors'
import type { OnProgress } from '../src/shared/files'
import { DEFAULT_SAMPLING, type Variation, type VaryRequest } from '../src/shared/protocol'
import * as storage from '../src/storage'
import { adapterOf } from './adapters'
import { openDataset } from './sources'
import { refuseOtherModel } from './unchanged'
import type { Workshop } from './workshop'

/** See EngineApi.vary. */
export async function vary(
  workshop: Workshop,
  request: VaryRequest,
  onVariation: (variation: Variation) => void,
  onProgress: OnProgress,
  signal: AbortSignal,
): Promise<void> {
  const { datasetId, position, kind, count, modelId, runId, checkpoint, temperature, seed } = request
  const { rows } = await openDataset(datasetId)
  const mapping = asSupervised(rows.mapping)
  const [row] = await rows.slice(position, position + 1)
  if (!row) throw new CodedError('usage', 'This row is no longer there.')
  const own = sidesOf(row, mapping)
  const known = new Set([sameKey(own)])
  const run = runId === null ? null : await storage.getRun(runId)
  if (run) await refuseOtherModel(workshop, run)
  const work = async (model: Model) => {
    const peft = runId === null ? null : await adapterOf(runId, checkpoint, model.record.name)
    const adapter = peft && (await workshop.alone(async () => loadTrainable(model, peft)))
    try {
      for (let i = 0; i < count && !signal.aborted; i++) {
        onProgress({ stage: 'Writing variations', done: i, total: count, unit: 'items' })
        // An adapter has learnt to answer these very prompts, and needs no examples for that.
        const alone = adapter !== null && kind === 'answer'
        const examples = alone ? [] : await drawExamples(rows, position, mapping, seed + i)
        const { tokenizer, chatTemplate: template, record } = model
        const prompt = variationPrompt(row, { kind, mapping, examples, tokenizer, template, context: record.context })
        for (const example of examples) known.add(sameKey(sidesOf(example, mapping)))
        const { ids, ...limits } = prompt
        const sampling = { ...DEFAULT_SAMPLING, ...limits, temperature, repetitionPenalty: 1, seed: seed + i }
        const tokens = generate(model, adapter, ids, sampling, signal)
        let turn = await workshop.alone(() => tokens.next())
        while (!turn.done) turn = await workshop.alone(() => tokens.next())
        const { text, reason } = turn.value
        if (reason === 'cancelled') return
        if (reason === 'length') onVariation({ refused: 'without an end' })
        else onVariation(distinct(readVariation(kind, own, text, mapping), known))
      }
    } finally {
      adapter?.dispose()
    }
  }
  await workshop.withModel(modelId, onProgress, work, run?.job.quantization)
}

/** A variation that says something new, noted as known from now on. */
function distinct(variation: Variation, known: Set<string>): Variation {
  if ('refused' in variation) return variation
  const key = sameKey(variation)
  if (known.has(key)) return { refused: 'like a row that is there' }
  known.add(key)
  return variation
}
