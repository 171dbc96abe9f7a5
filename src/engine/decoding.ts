/**
 * One decoding: the prompt through the model, then token after token through a cache of keys and values. On a GPU a step is recorded once
 * and replayed, the token is drawn on the device, and nothing but its number is read back; elsewhere scores are read and drawn from on
 * the host. Refuses to know when to stop.
 */
import type { Trainable } from './adapters/trainable'
import type { Model } from './models/model'
import { LayerCache } from './nn/cache'
import type { Pass } from './nn/network'
import { virtualStart } from './nn/virtual'
import { logits } from './ops'
import { onGPU } from './ops/gpu'
import { Recorder } from './ops/replay'
import { sampleProgram } from './ops/sample'
import { uniform } from './random'
import { sampleToken, type SamplingSettings } from './sampling'
import { tf } from './tf'

/** Caches grow by this many tokens: on a GPU seldom, because growing makes recordings void; elsewhere attention walks over all of it. */
const BLOCK = { gpu: 256, host: 64 }
/** Prompts are padded to a multiple of this on a GPU, so that shapes are few. */
const PREFILL = 32

interface DecodingInput {
  readonly model: Model
  readonly adapter: Trainable | null
  readonly sampling: SamplingSettings & { readonly seed: number }
  /** Tokens that the prompt and all that follows may have, virtual ones too. */
  readonly room: number
}

/** Draws the tokens that follow a prompt. Each call forces a sync with the device. */
export interface Decoding {
  /** Steps that were replayed so far. */
  readonly replayed: number
  /** Reads the prompt, which has at least one token, and draws what follows it. Once. */
  first(prompt: readonly number[]): Promise<number>
  /** The token after the last one drawn. */
  next(): Promise<number>
  dispose(): void
}

/** @param plain true decodes step by step through the ops and draws on the host: the same tokens, slower. */
export function startDecoding(input: DecodingInput, plain = false): Decoding {
  return onGPU() && !plain ? new DeviceDecoding(input) : new HostDecoding(input)
}

/** The layers over some tokens, and where they have come to. */
class Walk {
  past = 0
  readonly #input: DecodingInput
  readonly #caches: LayerCache[]

  constructor(input: DecodingInput) {
    this.#input = input
    this.#caches = Array.from({ length: input.model.network.layers }, () => new LayerCache())
  }

  /** Makes room for `length` tokens in all, and positions for what may follow. */
  reserve(length: number): void {
    const block = onGPU() ? BLOCK.gpu : BLOCK.host
    for (const cache of this.#caches) cache.reserve(length, block)
    this.#input.model.network.prepare(length, Math.max(length, Math.min(this.#input.room, length + block)))
  }

  pass(seq: number, count: number, here?: tf.Tensor1D): Pass {
    const { adapter } = this.#input
    return {
      ...{ batch: 1, seq, past: this.past, count, caches: this.#caches },
      overlay: adapter && adapter.overlay(),
      ...(here ? { here: { host: Int32Array.of(this.past), device: here } } : {}),
    }
  }

  /** Scores of the token after the last of `pass.count`, `[1, vocabulary]`. */
  scores(ids: tf.Tensor1D, pass: Pass): tf.Tensor2D {
    const { network } = this.#input.model
    return tf.tidy(() => {
      let x = network.embed(ids, pass)
      for (let i = 0; i < network.layers; i++) {
        const input = x
        x = tf.tidy(() => network.layer(i, input, pass))
        input.dispose()
      }
      const last = pass.seq === 1 ? x : tf.slice(x, [(pass.count ?? pass.seq) - 1, 0], [1, network.hidden])
      return logits(network.finish(last, pass), network.head(pass), network.logitCap)
    })
  }

  /** The same for a prompt or a token that comes from the host; counts them as past. */
  read(tokens: readonly number[]): tf.Tensor2D {
    const virtual = this.past === 0 ? (this.#input.adapter?.virtual ?? 0) : 0
    const ids = virtual > 0 ? [...new Array<number>(virtual).fill(0), ...tokens] : tokens
    const padded = ids.length > 1 && onGPU() ? Math.ceil(ids.length / PREFILL) * PREFILL : ids.length
    this.reserve(this.past + padded)
    const scores = tf.tidy(() => {
      const tensor = tf.tensor1d(
        Int32Array.from({ length: padded }, (_, i) => ids[i] ?? 0),
        'int32',
      )
      return this.scores(tensor, { ...this.pass(padded, ids.length), virtual: virtualStart(padded, virtual) })
    })
    this.past += ids.length
    return scores
  }

  dispose(): void {
    for (const cache of this.#caches) cache.dispose()
  }
}

class HostDecoding implements Decoding {
  readonly replayed = 0
  readonly #walk: Walk
  readonly #sampling: DecodingInput['sampling']
  readonly #random: () => number
  readonly #seen = new Set<number>()
  #last = 0

  constructor(input: DecodingInput) {
    this.#walk = new Walk(input)
    this.#sampling = input.sampling
    this.#random = uniform(input.sampling.seed)
  }

  first(prompt: readonly number[]): Promise<number> {
    for (const id of prompt) this.#seen.add(id)
    return this.#draw(prompt)
  }

  next(): Promise<number> {
    return this.#draw([this.#last])
  }

  async #draw(ids: readonly number[]): Promise<number> {
    const scores = this.#walk.read(ids)
    const values = (await scores.data()) as Float32Array
    scores.dispose()
    this.#last = sampleToken(values, this.#seen, this.#sampling, this.#random)
    this.#seen.add(this.#last)
    return this.#last
  }

  dispose(): void {
    this.#walk.dispose()
  }
}

class DeviceDecoding implements Decoding {
  readonly #walk: Walk
  readonly #sampling: DecodingInput['sampling']
  readonly #random: () => number
  readonly #recorder = new Recorder()
  /** The token drawn last. */
  readonly #chosen: tf.Tensor1D = tf.keep(tf.tidy(() => tf.fill([1], 0, 'int32') as tf.Tensor1D))
  readonly #seen: tf.Tensor
  readonly #flags: Int32Array

  constructor(input: DecodingInput) {
    this.#walk = new Walk(input)
    this.#sampling = input.sampling
    this.#random = uniform(input.sampling.seed)
    this.#flags = new Int32Array(input.model.network.vocabulary)
    this.#seen = this.#recorder.put('seen', this.#flags)
  }

  get replayed(): number {
    return this.#recorder.replayed.runs
  }

  first(prompt: readonly number[]): Promise<number> {
    for (const id of prompt) this.#flags[id] = 1
    this.#recorder.put('seen', this.#flags)
    const draw = this.#draw()
    tf.tidy(() => this.#choose(this.#walk.read(prompt), draw))
    return this.#read()
  }

  next(): Promise<number> {
    const walk = this.#walk
    walk.reserve(walk.past + 1)
    const here = this.#recorder.put('here', Int32Array.of(walk.past)) as tf.Tensor1D
    const draw = this.#draw()
    this.#recorder.run('decode', () =>
      tf.tidy(() => this.#choose(walk.scores(this.#chosen, walk.pass(1, 1, here)), draw)),
    )
    walk.past++
    return this.#read()
  }

  #draw(): tf.Scalar {
    return this.#recorder.number('draw', this.#random()) as tf.Scalar
  }

  #choose(scores: tf.Tensor2D, draw: tf.Scalar): void {
    sampleProgram({ scores, seen: this.#seen, draw, chosen: this.#chosen }, this.#sampling)
  }

  async #read(): Promise<number> {
    return (await this.#chosen.data())[0] as number
  }

  dispose(): void {
    this.#recorder.dispose()
    this.#walk.dispose()
    this.#chosen.dispose()
  }
}
