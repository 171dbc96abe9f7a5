/**
 * Text from a model, token by token: prefill the prompt, decode with a cache of keys and values, stop at an end token, a stop
 * string, the length or an abort. Refuses to touch training state: its random stream follows from its own seed.
 */
import { CodedError } from '../shared/errors'
import type { GenerateResult, Sampling } from '../shared/protocol'
import type { Trainable } from './adapters/trainable'
import { startDecoding } from './decoding'
import { withGuard } from './device-guard'
import type { Model } from './models/model'
import { breathe } from './train/breathe'

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
 * @param plain true goes through the ops and draws on the host: the same tokens, slower.
 * @throws CodedError `usage` where the prompt is empty or longer than the model's positions.
 */
export async function* generate(
  model: Model,
  adapter: Trainable | null,
  promptIds: readonly number[],
  sampling: Sampling,
  signal?: AbortSignal,
  plain = false,
): AsyncGenerator<{ id: number; text: string }, GenerateResult> {
  const virtual = adapter?.virtual ?? 0
  checkPrompt(model, promptIds, virtual)
  const ids: number[] = []
  const stream = model.tokenizer.stream({ skipSpecialTokens: true })
  const room = Math.min(sampling.maxNewTokens, model.network.positions - virtual - promptIds.length)
  const decoding = startDecoding({ model, adapter, sampling, room: virtual + promptIds.length + room }, plain)
  const started = performance.now()
  let text = ''
  let shown = 0
  let reason: GenerateResult['reason'] = 'length'
  try {
    while (ids.length < room) {
      if (signal?.aborted) {
        reason = 'cancelled'
        break
      }
      const id = await withGuard(() => (ids.length === 0 ? decoding.first(promptIds) : decoding.next()))
      if (model.endIds.has(id)) {
        reason = 'end'
        break
      }
      ids.push(id)
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

function checkPrompt(model: Model, promptIds: readonly number[], virtual: number): void {
  if (promptIds.length === 0)
    throw new CodedError('usage', 'The prompt is empty.', {
      where: 'prompt',
      fix: 'Write something for the model to go on from.',
    })
  const positions = model.network.positions - virtual
  if (promptIds.length >= positions)
    throw new CodedError(
      'usage',
      `The prompt has ${promptIds.length} tokens and the model has only ${positions} positions${virtual > 0 ? ' beside the virtual tokens' : ''}.`,
      { where: 'prompt', fix: 'Shorten the prompt.' },
    )
}
