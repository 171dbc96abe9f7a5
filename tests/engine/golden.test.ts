/** Every family against numbers recorded from PyTorch, transformers and PEFT: logits, losses, gradients, training, greedy text. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { evaluate, generate, loadTrainable, tokenLosses, type Model } from '../../src/engine'
import { logits } from '../../src/engine/ops'
import { Recorder } from '../../src/engine/ops/replay'
import { DEFAULT_SAMPLING } from '../../src/shared/protocol'
import { tf } from '../../src/engine/tf'
import { expectClose, onWebGPU, relativeError } from '../support/backends'
import { gradientsOf } from '../support/gradients'
import { forward, trainingPass } from '../../src/engine/train/backprop'
import { packBatch, uploadBatch } from '../../src/engine/train/batch'
import {
  encodedRows,
  goldenAdapter,
  goldenJob,
  goldenModel,
  readGolden,
  sessionOver,
  readGoldenTensors,
  type Golden,
} from '../support/golden'
import { TOLERANCES } from '../support/precision'
import { expectRowLosses, expectSteps, firstStep } from '../support/recorded'

/** The first two are compared over whole runs on every backend; the others, in a browser, over their first steps, to save time. */
const CASES = [
  'llama-gqa-tied',
  'llama-untied-llama3-rope',
  'mistral',
  'qwen2',
  'qwen3',
  'smollm3',
  'gemma2',
  'gemma3-text',
  'phi',
  'phi3',
  'gpt2',
  'gpt-neox',
  'olmo2',
  'granite',
]
const WHOLE = CASES.slice(0, 2)
const TOLERANCE = TOLERANCES.none.f32

describe.each(CASES)('%s', (name) => {
  let model: Model
  let golden: Golden
  let tensors: Awaited<ReturnType<typeof readGoldenTensors>>

  beforeAll(async () => {
    golden = await readGolden(name)
    tensors = await readGoldenTensors(name)
    model = await goldenModel(name)
  })
  afterAll(() => model?.dispose())

  const loaded = async (run = 0) =>
    loadTrainable(model, await goldenAdapter(name, golden.runs[run]?.adapter ?? 'adapter_init'))

  async function scores(adapter: Awaited<ReturnType<typeof loaded>> | null): Promise<Float32Array> {
    const row = encodedRows(golden)[golden.logits_row]!
    const whole = { ...row, labels: row.inputIds }
    const batch = packBatch([{ ...whole, inputIds: Int32Array.from([...row.inputIds, 0]), labels: Int32Array.from([...row.inputIds, 0]) }], true) // prettier-ignore
    const recorder = new Recorder({ enabled: false })
    const on = uploadBatch(batch, recorder)
    const { network } = model
    const pass = trainingPass(adapter, batch, on)
    const states = forward(network, { on, noise: null }, pass, 0)
    const out = tf.tidy(() => logits(network.finish(states.at(-1)!, pass), network.head(pass), network.logitCap))
    const values = (await out.data()) as Float32Array
    for (const tensor of [...states, out]) tensor.dispose()
    recorder.dispose()
    return values
  }

  it('gives the logits of transformers', async () => {
    expect(relativeError(await scores(null), tensors.get('logits/base')!.values)).toBeLessThan(1e-4)
  })

  it('gives the logits of PEFT with an adapter', async () => {
    const adapter = await loaded()
    expect(relativeError(await scores(adapter), tensors.get('logits/adapter')!.values)).toBeLessThan(1e-4)
    adapter.dispose()
  })

  it('gives the loss of every row', async () => {
    const adapter = await loaded()
    for (const [which, on] of [
      ['base', null],
      ['adapter', adapter],
    ] as const) {
      const { rows } = await evaluate(model, on, encodedRows(golden))
      golden.row_losses[which].forEach((wanted, i) => {
        expect(rows[i]!.tokens).toBe(wanted.tokens)
        expect(Math.abs(rows[i]!.loss / wanted.loss - 1), `${which}, row ${i}`).toBeLessThan(TOLERANCE.firstLoss)
      })
      const packed = await evaluate(model, on, encodedRows(golden), undefined, undefined, undefined, true)
      packed.rows.forEach(({ index, tokens, loss, correct }, i) => {
        expect([index, tokens, correct], `packed row ${i}`).toEqual([rows[i]!.index, rows[i]!.tokens, rows[i]!.correct])
        expect(Math.abs(loss / rows[i]!.loss - 1), `${which}, packed row ${i}`).toBeLessThan(1e-5)
      })
      const [row] = encodedRows(golden)
      const asked = [...(await tokenLosses(model, on, row!))].filter((loss) => !Number.isNaN(loss))
      const [wanted] = golden.row_losses[which]
      expect(asked).toHaveLength(wanted!.tokens)
      const mean = asked.reduce((sum, loss) => sum + loss, 0) / asked.length
      expect(Math.abs(mean / wanted!.loss - 1), `${which}, token by token`).toBeLessThan(TOLERANCE.firstLoss)
    }
    adapter.dispose()
  })

  it('gives the gradient of every adapter tensor', async () => {
    for (const [index, run] of golden.runs.entries()) {
      const adapter = await loaded(index)
      const { rows, labels } = firstStep(golden, encodedRows(golden))
      const { gradients, lossSum } = gradientsOf(model, adapter, packBatch(rows, false), 1 / labels, 0)
      expect(labels).toBe(run.steps[0]!.tokens)
      for (const [i, { name: key }] of adapter.variables.entries()) {
        const wanted = tensors.get(`${run.name}/grad/${key}`)!
        expect(gradients[i]!.shape).toEqual(wanted.shape)
        const values = (await gradients[i]!.data()) as Float32Array
        if (wanted.values.every((value) => value === 0))
          expect(Math.max(...values.map(Math.abs)), key).toBeLessThan(1e-6)
        else expect(relativeError(values, wanted.values), key).toBeLessThan(TOLERANCE.gradient)
      }
      for (const tensor of [...gradients, lossSum]) tensor.dispose()
      adapter.dispose()
    }
  })

  it('gives the same loss and gradients for packed rows', async () => {
    const adapter = await loaded()
    const rows = encodedRows(golden)
    const apart = gradientsOf(model, adapter, packBatch(rows, true), 0.1, 0)
    const packed = gradientsOf(model, adapter, packBatch(rows, false, true), 0.1, 0)
    await expectClose(packed.lossSum, apart.lossSum, 1e-5, 'loss')
    for (const [i, { name: key }] of adapter.variables.entries())
      await expectClose(packed.gradients[i]!, apart.gradients[i]!, 1e-5, key)
    for (const tensor of [...apart.gradients, ...packed.gradients, apart.lossSum, packed.lossSum]) tensor.dispose()
    adapter.dispose()
  })

  it('trains to the same losses and norms', async () => {
    for (const run of golden.runs) {
      const rows = encodedRows(golden)
      const initAdapter = await goldenAdapter(name, run.adapter)
      const session = await sessionOver(rows, { model, job: goldenJob(golden), initAdapter })
      expect(session.trainableParameters).toBe(run.parameters)
      const few = onWebGPU() && !WHOLE.includes(name)
      const { events, whole } = await expectSteps(session, run.steps, { few, tolerance: TOLERANCE })
      events.forEach(({ learningRate }, i) => expect(learningRate).toBeCloseTo(run.steps[i]!.lr, 12))
      if (!whole) return session.dispose()
      const after = await session.adapter.toPeft(name)
      for (const [key, tensor] of Object.entries(after.tensors)) {
        const wanted = tensors.get(`${run.name}/after/${key}`)
        if (wanted) expect(relativeError(new Float32Array(tensor.bytes.buffer), wanted.values), key).toBeLessThan(5e-3)
      }
      const { rows: results } = await evaluate(model, session.adapter, rows)
      expectRowLosses(results, run.row_losses_after, 5e-3, { label: 'afterwards' })
      session.dispose()
    }
  })

  it('continues greedily with the same tokens', async () => {
    const adapter = await loaded()
    for (const [which, on] of [
      ['base', null],
      ['adapter', adapter],
    ] as const) {
      const { prompt, ids } = golden.greedy[which]
      const settings = { ...DEFAULT_SAMPLING, temperature: 0, repetitionPenalty: 1, maxNewTokens: ids.length }
      const answer = generate(model, on, prompt, settings)
      let turn = await answer.next()
      while (!turn.done) turn = await answer.next()
      expect(turn.value.ids).toEqual(ids)
    }
    adapter.dispose()
  })
})
