/**
 * An answer from a model, with a run's adapter or without, streamed. Refuses to know who listens.
 */
import { asSupervised, encodeText, mapRow, type Example } from '../src/data'
import { classify, classText, generate, loadTrainable, stackAdapters } from '../src/engine'
import type { PeftAdapter } from '../src/engine/formats/peft'
import type { GenerateRequest, GenerateResult, OnText } from '../src/shared/protocol'
import type { RunRecord } from '../src/shared/records'
import * as storage from '../src/storage'
import { adapterOf } from './adapters'
import { promptIds } from './prompts'
import { openDataset } from './sources'
import { refuseOtherModel } from './unchanged'
import type { Workshop } from './workshop'

/** See EngineApi.generate. */
export async function answer(
  workshop: Workshop,
  { modelId, runId, checkpoint, strength, beside, prompt, shots = 0, ...sampling }: GenerateRequest,
  onText: OnText,
  signal: AbortSignal,
): Promise<GenerateResult> {
  const run = runId === null ? null : await storage.getRun(runId)
  const second = beside ? await storage.getRun(beside.runId) : null
  for (const one of [run, second]) if (one) await refuseOtherModel(workshop, one)
  const mapping = run?.dataset.mapping.format === 'unknown' ? undefined : run?.dataset.mapping
  const examples = run && mapping && shots > 0 ? await examplesOf(run, shots) : []
  const quiet = () => {}
  return workshop.withModel(
    modelId,
    quiet,
    async (model) => {
      const { name } = model.record
      const own = runId === null ? null : await adapterOf(runId, checkpoint, name)
      const other = own && beside ? await adapterOf(beside.runId, beside.checkpoint, name) : null
      const peft = own && other && beside ? together(own, strength, other, beside.strength) : own
      const adapter = peft && (await workshop.alone(async () => loadTrainable(model, peft)))
      adapter?.setStrength(other ? 1 : strength)
      try {
        if (adapter?.classes && strength > 0) {
          const text = typeof prompt === 'string' ? prompt : (prompt.at(-1)?.content ?? '')
          const ids = encodeText(text, mapping, model.tokenizer)
          const named = classText(await workshop.alone(() => classify(model, adapter, ids)))
          onText(named)
          return { ids: [], text: named, reason: 'end', tokensPerSecond: 0 }
        }
        const tokens = generate(model, adapter, promptIds(model, prompt, mapping, examples), sampling, signal)
        for (;;) {
          const turn = await workshop.alone(() => tokens.next())
          if (turn.done) return turn.value
          if (turn.value.text !== '') onText(turn.value.text)
        }
      } finally {
        adapter?.dispose()
      }
      // A run's adapter has learnt to go with the base weights as they were held in its training.
    },
    run?.job.quantization,
  )
}

function together(first: PeftAdapter, strength: number, second: PeftAdapter, weight: number): PeftAdapter {
  return stackAdapters([
    { adapter: first, weight: strength },
    { adapter: second, weight },
  ])
}

/** A few examples from the beginning of a run's dataset. */
async function examplesOf(run: RunRecord, count: number): Promise<Example[]> {
  const { rows } = await openDataset(run.job.data, run.dataset.revision ?? '')
  const mapping = asSupervised(run.dataset.mapping)
  const examples = (await rows.slice(0, 4 * count)).flatMap((row): Example[] => {
    try {
      return [mapRow(row, mapping)]
    } catch {
      // A row that cannot be trained on is no example either.
      return []
    }
  })
  return examples.slice(0, count)
}
