/** Decoding that is recorded and draws on the device, against the same tokens through the ops and drawn on the host. */
import { afterAll, describe, expect, it } from 'vitest'
import { loadTrainable, type Model, type Trainable } from '../../src/engine'
import { startDecoding } from '../../src/engine/decoding'
import { sampleProgram } from '../../src/engine/ops/sample'
import { uniform } from '../../src/engine/random'
import { sampleToken, type SamplingSettings } from '../../src/engine/sampling'
import { tf } from '../../src/engine/tf'
import { deviceBytes } from '../../src/engine/train/session'
import { onWebGPU, values } from '../support/backends'
import { goldenAdapter, goldenModel } from '../support/golden'

const GREEDY: SamplingSettings = { temperature: 0, topK: 0, topP: 1, repetitionPenalty: 1 }
const SETTINGS: readonly SamplingSettings[] = [
  GREEDY,
  { ...GREEDY, repetitionPenalty: 1.3 },
  { ...GREEDY, temperature: 1 },
  { ...GREEDY, temperature: 0.6, topK: 5 },
  { ...GREEDY, temperature: 1.2, topP: 0.8 },
  { temperature: 0.9, topK: 40, topP: 0.95, repetitionPenalty: 1.1 },
  { temperature: 1, topK: 1, topP: 0.5, repetitionPenalty: 1 },
  { temperature: 1, topK: 3, topP: 0, repetitionPenalty: 0.8 },
]

describe.skipIf(!onWebGPU())('a token drawn on the device', () => {
  async function onDevice(
    scores: Float32Array,
    seen: ReadonlySet<number>,
    settings: SamplingSettings,
    at: number,
  ): Promise<{ id: number; seen: Set<number> }> {
    const inputs = {
      scores: tf.tensor(scores.slice(), [1, scores.length]),
      seen: tf.tensor1d(Int32Array.from(scores, (_, id) => Number(seen.has(id))), 'int32'), // prettier-ignore
      draw: tf.scalar(at),
      chosen: tf.tensor1d([-1], 'int32'),
    }
    sampleProgram(inputs, settings)
    const id = (await inputs.chosen.data())[0]!
    const flags = await inputs.seen.data()
    tf.dispose(Object.values(inputs))
    return { id, seen: new Set(Array.from(flags.keys()).filter((i) => flags[i] !== 0)) }
  }

  it.each([1, 2, 7, 255, 256, 257, 2049, 50_000])('of %i is the one that the host draws', async (size) => {
    const random = uniform(size)
    for (const [n, settings] of SETTINGS.entries()) {
      // Rounded scores are full of ties, also at the thresholds.
      for (const scores of [values(size, n, 9), values(size, n, 4).map(Math.round)]) {
        const seen = new Set([0, size >> 1, size - 1])
        for (const at of [0, random(), random(), 0.9999]) {
          const wanted = sampleToken(scores.slice(), seen, settings, () => at)
          const got = await onDevice(scores, seen, settings, at)
          expect(got.id, `settings ${n}, draw ${at}`).toBe(wanted)
          expect(got.seen).toEqual(new Set([...seen, wanted]))
        }
      }
    }
  })
})

const loaded = new Map<string, Promise<{ model: Model; adapter: Trainable }>>()
async function load(name: string): Promise<{ model: Model; adapter: Trainable }> {
  const model = await goldenModel(name)
  return { model, adapter: loadTrainable(model, await goldenAdapter(name, 'adapter_init')) }
}
function open(name: string): Promise<{ model: Model; adapter: Trainable }> {
  if (!loaded.has(name)) loaded.set(name, load(name))
  return loaded.get(name)!
}
afterAll(async () => {
  for (const opening of loaded.values()) {
    const { model, adapter } = await opening
    adapter.dispose()
    model.dispose()
  }
})

/** The ids of a decoding, whatever they are, and how many of its steps were replayed. */
async function tokens(
  name: string,
  sampling: SamplingSettings,
  { count = 24, plain = false, prompt = [1, 19, 38, 64] } = {},
): Promise<{ ids: number[]; replayed: number }> {
  const { model, adapter } = await open(name)
  const room = prompt.length + count
  const decoding = startDecoding({ model, adapter, sampling: { ...sampling, seed: 5 }, room }, plain)
  const ids = [await decoding.first(prompt)]
  while (ids.length < count) ids.push(await decoding.next())
  const { replayed } = decoding
  decoding.dispose()
  return { ids, replayed }
}

describe('decoding', () => {
  // Learnt positions, two rotary tables with windows, head norms, soft caps, long rope.
  it.each(['llama-gqa-tied', 'gpt2', 'gemma3-text', 'gemma2', 'qwen3', 'phi3'])(
    'of %s gives the same tokens recorded and plain',
    async (name) => {
      for (const sampling of [GREEDY, SETTINGS[5]!]) {
        const recorded = await tokens(name, sampling)
        expect(recorded.ids).toEqual((await tokens(name, sampling, { plain: true })).ids)
        // The prompt, and two steps that have to agree.
        expect(recorded.replayed).toBe(onWebGPU() ? 21 : 0)
      }
    },
  )

  it('goes on when its caches and tables grow', async () => {
    const long = { count: 24, prompt: Array.from({ length: 248 }, (_, i) => 1 + (i % 90)) }
    const recorded = await tokens('llama-gqa-tied', SETTINGS[5]!, long)
    expect(recorded.ids).toEqual((await tokens('llama-gqa-tied', SETTINGS[5]!, { ...long, plain: true })).ids)
    // Twice the prompt's way: before the caches grow, and after.
    if (onWebGPU()) expect(recorded.replayed).toBe(19)
  })

  it('gives everything back', async () => {
    const state = (): string => `${tf.memory().numTensors} tensors, ${deviceBytes()} bytes`
    await tokens('llama-gqa-tied', SETTINGS[5]!)
    await tokens('llama-gqa-tied', SETTINGS[5]!)
    const before = state()
    await tokens('llama-gqa-tied', SETTINGS[5]!)
    expect(state()).toBe(before)
  })
})
