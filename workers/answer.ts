/**
 * An answer from a model, with a run's adapter or without, streamed. Refuses to know who listens.
 */
import { asSupervised, mapRow, type Example } from '../src/data'
import { generate, loadAdapter } from '../src/engine'
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
  { modelId, runId, checkpoint, strength, prompt, shots = 0, ...sampling }: GenerateRequest,
  onText: OnText,
  signal: AbortSignal,
): Promise<GenerateResult> {
  const run = runId === null ? null : await storage.getRun(runId)
  if (run) await refuseOtherModel(workshop, run)
  const mapping = run?.dataset.mapping.format === 'unknown' ? undefined : run?.dataset.mapping
  const examples = run && mapping && shots > 0 ? await examplesOf(run, shots) : []
  const quiet = () => {}
  return workshop.withModel(
    modelId,
    quiet,
    async (model) => {
      const peft = runId === null ? null : await adapterOf(runId, checkpoint, model.record.name)
      const adapter = peft && (await workshop.alone(async () => loadAdapter(model, peft)))
      adapter?.setStrength(strength)
      try {
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
