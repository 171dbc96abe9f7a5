/**
 * Text from a model, token by token: prefill the prompt, decode with a cache of keys and values, stop at an end token, a stop
 * string, the length or an abort. Refuses to touch training state: its random stream follows from its own seed.
 */
import { CodedError } from '../shared/errors'
import type { GenerateResult, Sampling } from '../shared/protocol'
import type { Trainable } from './adapters/trainable'
import { withGuard } from './device-guard'
import type { Model } from './models/model'
import { LayerCache } from './nn/cache'
import type { Pass } from './nn/network'
import { logits } from './ops'
import { uniform } from './random'
import { sampleToken } from './sampling'
import { tf } from './tf'
import { breathe } from './train/breathe'

/** Caches grow by this many tokens. */
const BLOCK = 64
/** Prompts are padded to a multiple of this on webgpu, so that shapes are few. */
const PREFILL = 32

/** One decoding: caches and where it stands. */
class Decoding {
  readonly #model: Model
  readonly #adapter: Trainable | null
  readonly #caches: LayerCache[]
  #past = 0

  constructor(model: Model, adapter: Trainable | null) {
    this.#model = model
    this.#adapter = adapter
    this.#caches = Array.from({ length: model.network.layers }, () => new LayerCache())
  }

  /** Runs tokens through the model; the scores of the token that follows, `[vocabulary]`. Forces a sync with the device. */
  async advance(ids: readonly number[]): Promise<Float32Array> {
    const { network } = this.#model
    const adapter = this.#adapter
    const padded =
      ids.length > 1 && tf.getBackend() === 'webgpu' ? Math.ceil(ids.length / PREFILL) * PREFILL : ids.length
    for (const cache of this.#caches) cache.reserve(this.#past + padded, BLOCK)
    const pass: Pass = {
      batch: 1,
      seq: padded,
      past: this.#past,
      count: ids.length,
      overlay: adapter && adapter.overlay(),
      caches: this.#caches,
    }
    const scores = tf.tidy(() => {
      let x = network.embed(tf.tensor1d(Int32Array.from({ length: padded }, (_, i) => ids[i] ?? 0), 'int32'), pass) // prettier-ignore
      for (let i = 0; i < network.layers; i++) {
        const input = x
        x = tf.tidy(() => network.layer(i, input, pass))
        input.dispose()
      }
      const last = tf.slice(x, [ids.length - 1, 0], [1, network.hidden])
      return logits(network.finish(last, pass), network.head(pass), network.logitCap)
    })
    this.#past += ids.length
    const values = (await scores.data()) as Float32Array
    scores.dispose()
    return values
  }

  dispose(): void {
    for (const cache of this.#caches) cache.dispose()
  }
}

/** Where the earliest stop string begins, or -1; and how much of the text's end might become one. */
function findStop(text: string, stops: readonly string[]): { at: number; held: number } {
  let at = -1
  let held = 0
  for (const stop of stops) {
    if (stop === '') continue
    const found = text.indexOf(stop)
    if (found >= 0 && (at < 0 || found < at)) at = found
    for (let n = Math.min(stop.length - 1, text.length); n > held; n--) {
      if (text.endsWith(stop.slice(0, n))) held = n
    }
  }
  return { at, held }
}

/**
 * Streams `{ id, text }`: each token with the text that became certain (never half a character, never part of a stop string).
 * The generator returns the whole. The ids of the result leave out the end token; the prompt is not repeated.
 * @throws CodedError `usage` where the prompt is empty or longer than the model's positions.
 */
export async function* generate(
  model: Model,
  adapter: Trainable | null,
  promptIds: readonly number[],
  sampling: Sampling,
  signal?: AbortSignal,
): AsyncGenerator<{ id: number; text: string }, GenerateResult> {
  checkPrompt(model, promptIds)
  const random = uniform(sampling.seed)
  const seen = new Set(promptIds)
  const ids: number[] = []
  const stream = model.tokenizer.stream({ skipSpecialTokens: true })
  const decoding = new Decoding(model, adapter)
  const room = model.network.positions - promptIds.length
  const started = performance.now()
  let text = ''
  let shown = 0
  let reason: GenerateResult['reason'] = 'length'
  try {
    let next: readonly number[] = promptIds
    while (ids.length < Math.min(sampling.maxNewTokens, room)) {
      if (signal?.aborted) {
        reason = 'cancelled'
        break
      }
      const scores = await withGuard(() => decoding.advance(next))
      const id = sampleToken(scores, seen, sampling, random)
      if (model.endIds.has(id)) {
        reason = 'end'
        break
      }
      ids.push(id)
      seen.add(id)
      next = [id]
      text += stream.push(id)
      const { at, held } = findStop(text, sampling.stop)
      if (at >= 0) {
        yield { id, text: text.slice(shown, at) }
        text = text.slice(0, at)
        shown = at
        reason = 'stop'
        break
      }
      const sure = Math.max(shown, text.length - held)
      yield { id, text: text.slice(shown, sure) }
      shown = sure
      await breathe()
    }
    if (reason !== 'stop') {
      text += stream.end()
      const last = ids.at(-1)
      if (text.length > shown && last !== undefined) yield { id: last, text: text.slice(shown) }
    }
  } finally {
    decoding.dispose()
  }
  const seconds = (performance.now() - started) / 1000
  return { ids, text, reason, tokensPerSecond: seconds > 0 ? ids.length / seconds : 0 }
}

function checkPrompt(model: Model, promptIds: readonly number[]): void {
  if (promptIds.length === 0)
    throw new CodedError('usage', 'The prompt is empty.', {
      where: 'prompt',
      fix: 'Write something for the model to go on from.',
    })
  if (promptIds.length >= model.network.positions)
    throw new CodedError(
      'usage',
      `The prompt has ${promptIds.length} tokens and the model has only ${model.network.positions} positions.`,
      { where: 'prompt', fix: 'Shorten the prompt.' },
    )
}
