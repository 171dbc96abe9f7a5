/**
 * Training over quantised base weights against PyTorch and PEFT over the same rounded weights: losses, gradients, twenty steps.
 * The tolerances are those of plain weights: rounding happens once, before anything is computed.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { evaluate, loadTrainable, loadModel, type Model } from '../../src/engine'
import { tf } from '../../src/engine/tf'
import { onWebGPU } from '../support/backends'
import { gradientsOf } from '../support/gradients'
import { packBatch } from '../../src/engine/train/batch'
import {
  encodedRows,
  goldenAdapter,
  goldenJob,
  goldenSource,
  readGolden,
  sessionOver,
  readQuantisedRuns,
  type Golden,
  type QuantisedRun,
} from '../support/golden'
import { TOLERANCES } from '../support/precision'
import { expectRowLosses, expectTraining, firstStep } from '../support/recorded'

const runs = await readQuantisedRuns()

describe.each(runs.map((run) => [run.case, run.mode, run] as const))(
  '%s in %s',
  (name, quantization, run: QuantisedRun) => {
    let model: Model
    let golden: Golden
    const tolerance = TOLERANCES[quantization].f32

    beforeAll(async () => {
      golden = await readGolden(name)
      model = await loadModel(await goldenSource(name), { id: `local:${name}`, name, quantization })
    })
    afterAll(() => model?.dispose())

    it('gives the loss of every row', async () => {
      const { rows } = await evaluate(model, null, encodedRows(golden))
      expectRowLosses(rows, run.row_losses, tolerance.firstLoss)
    })

    it('gives the gradients of the adapter', async () => {
      const adapter = loadTrainable(model, await goldenAdapter(name, 'adapter_init'))
      const { rows, labels } = firstStep(golden, encodedRows(golden))
      const { gradients, lossSum } = gradientsOf(model, adapter, packBatch(rows, false), 1 / labels, 0)
      let seen = 0
      for (const [i, { name: key }] of adapter.variables.entries()) {
        const wanted = run.gradients[key]
        if (!wanted) continue
        seen++
        const values = await gradients[i]!.data()
        const size = Math.max(...wanted.map(Math.abs))
        wanted.forEach((value, at) =>
          expect(Math.abs(values[at]! - value), key).toBeLessThan(tolerance.gradient * size + 1e-8),
        )
      }
      expect(seen).toBe(Object.keys(run.gradients).length)
      tf.dispose([...gradients, lossSum])
      adapter.dispose()
    })

    it('trains to the same losses and norms', async () => {
      const rows = encodedRows(golden)
      const initAdapter = await goldenAdapter(name, 'adapter_init')
      const session = await sessionOver(rows, { model, job: goldenJob(golden, { quantization }), initAdapter })
      // On a software GPU whole runs take long: one model's are enough there.
      const few = onWebGPU() && name !== 'llama-gqa-tied'
      await expectTraining(session, run, rows, { few, tolerance })
    })
  },
)
