/** Generation: the cache against no cache, stops, seeds, aborts, and a real model's documented greedy story. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { generate, loadTrainable, loadModel, type Trainable, type Model } from '../../src/engine'
import { tf } from '../../src/engine/tf'
import { DEFAULT_SAMPLING, type GenerateResult, type Sampling } from '../../src/shared/protocol'
import { goldenAdapter, goldenModel } from '../support/golden'

let model: Model
let adapter: Trainable

beforeAll(async () => {
  model = await goldenModel('llama-gqa-tied')
  adapter = loadTrainable(model, await goldenAdapter('llama-gqa-tied', 'adapter_init'))
})
afterAll(() => {
  adapter?.dispose()
  model?.dispose()
})

interface Told extends GenerateResult {
  /** What was streamed, joined. */
  streamed: string
}

async function tell(
  change: Partial<Sampling>,
  prompt = [1, 19, 38, 64],
  on: Model = model,
  signal?: AbortSignal,
): Promise<Told> {
  const answer = generate(
    on,
    on === model ? adapter : null,
    prompt,
    { ...DEFAULT_SAMPLING, maxNewTokens: 40, ...change },
    signal,
  )
  let streamed = ''
  let turn = await answer.next()
  while (!turn.done) {
    streamed += turn.value.text
    turn = await answer.next()
  }
  return { ...turn.value, streamed }
}

describe('generate', () => {
  it('streams what it returns, and repeats with its seed', async () => {
    const [first, again, other] = [await tell({ seed: 1 }), await tell({ seed: 1 }), await tell({ seed: 2 })]
    expect(first.streamed).toBe(first.text)
    expect(first.text).toBe(model.tokenizer.decode(first.ids, { skipSpecialTokens: true }))
    expect(again.ids).toEqual(first.ids)
    expect(other.ids).not.toEqual(first.ids)
  })

  it('continues from its own beginning with the same tokens: the cache is right', async () => {
    const settings = { temperature: 0, repetitionPenalty: 1, maxNewTokens: 30 }
    const prompt = [1, 19, 38, 64]
    const { ids } = await tell(settings, prompt)
    const rest = await tell({ ...settings, maxNewTokens: 17 }, [...prompt, ...ids.slice(0, 13)])
    expect(rest.ids).toEqual(ids.slice(13))
  })

  it('goes on over more tokens than one block of the cache', async () => {
    const { ids, reason } = await tell({ temperature: 0, repetitionPenalty: 1, maxNewTokens: 150 })
    expect(reason === 'end' || ids.length === 150).toBe(true)
    const rest = await tell({ temperature: 0, repetitionPenalty: 1, maxNewTokens: 1 }, [
      1,
      19,
      38,
      64,
      ...ids.slice(0, -1),
    ])
    expect(rest.ids).toEqual(ids.slice(-1))
  })

  it('stops before a stop string and streams none of it', async () => {
    const settings = { temperature: 0, repetitionPenalty: 1 }
    const whole = await tell(settings)
    const stop = whole.text.slice(5, 8)
    const cut = await tell({ ...settings, stop: ['never there', stop] })
    expect(cut.reason).toBe('stop')
    expect(cut.text).toBe(whole.text.slice(0, whole.text.indexOf(stop)))
    expect(cut.streamed).toBe(cut.text)
  })

  it('stops at the length, says so, and gives a prompt of one token its answer', async () => {
    const result = await tell({ maxNewTokens: 3, temperature: 0 }, [1])
    expect(result.ids.length).toBeLessThanOrEqual(3)
    expect(['length', 'end']).toContain(result.reason)
  })

  it('stops when it is told to, with what it has', async () => {
    const controller = new AbortController()
    const answer = generate(model, adapter, [1, 19], { ...DEFAULT_SAMPLING, temperature: 0 }, controller.signal)
    await answer.next()
    controller.abort()
    let turn = await answer.next()
    while (!turn.done) turn = await answer.next()
    expect(turn.value.reason).toBe('cancelled')
    expect(turn.value.ids.length).toBe(1)
  })

  it('refuses an empty prompt', async () => {
    await expect(tell({}, [])).rejects.toMatchObject({ code: 'usage' })
  })

  it('frees everything, also when it is left early', async () => {
    await tell({})
    const before = tf.memory().numTensors
    await tell({})
    const answer = generate(model, adapter, [1, 19], DEFAULT_SAMPLING)
    await answer.next()
    await answer.return(undefined as never)
    expect(tf.memory().numTensors).toBe(before)
  })
})

/** Reads the real model where this runs in Node and it is there. */
async function realModel(): Promise<{ model: Model; ids: number[] } | null> {
  if (typeof process === 'undefined' || !process.versions?.node) return null
  const { dataFolder, diskFolder } = await import('../support/folder')
  const path = dataFolder('models/tinystories-656K')
  if (!path) return null
  const { readFile } = await import('node:fs/promises')
  const { ids } = JSON.parse(await readFile(`${path}/golden-greedy-numpy.json`, 'utf8')) as { ids: number[] }
  return { model: await loadModel(diskFolder(path), { id: 'local:tinystories', name: 'tinystories-656K' }), ids }
}

describe('tinystories-656K', () => {
  it('tells the story that an independent implementation tells', async (context) => {
    const real = await realModel()
    if (!real) return context.skip()
    const settings = { temperature: 0, repetitionPenalty: 1, maxNewTokens: 200 }
    const told = await tell(settings, real.ids.slice(0, 1), real.model)
    expect(told.reason).toBe('end')
    expect([1, ...told.ids, 2]).toEqual(real.ids)
    real.model.dispose()
  })
})
