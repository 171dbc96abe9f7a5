/**
 * Records the dispatches of a piece of work once and replays them, without going through ops, tape and tensors again: shapes repeat
 * from step to step, and the host's part of a dispatch falls from tens of microseconds to one or two. Refuses to guess what changes
 * between runs: that comes through `put` and `number`, and a recording counts only once a second run has made the same one.
 *
 * How work is recorded: it runs as ever, through a command encoder that notes what it passes on (recording.ts). Its tensors lie in an
 * arena (replay-pool.ts), so that a replay finds every buffer where it was. Off the GPU, and where work cannot be replayed (it leaves
 * tensors behind, or is never twice the same), work simply runs.
 */
import { tf } from '../tf'
import { arithmetic } from './arithmetic'
import { gpuBackend, onGPU } from './gpu'
import { flush, record, recordParts, type Parts, type Recording } from './recording'
import { ReplayPool } from './replay-pool'

/** Recordings that one recorder keeps at most. */
const MOST = 64
/** Runs after which work that has never been the same twice is no longer recorded. */
const MOST_TRIALS = 4

interface Entry {
  recording: Recording
  /** A second run made the same recording: from now on it is replayed. */
  trusted: boolean
  /** Runs since the last recording that was trusted. */
  trials: number
  /** Where the watched tensors lay. */
  memory: object[]
}

/** Gives back what lies unused on a GPU, whose backend would keep it for tensors of the same sizes; call it when a model has gone. */
export function freeUnused(): void {
  if (!onGPU()) return
  flush(gpuBackend())
  ReplayPool.of(gpuBackend()).trim()
}

/** What was recorded in one arithmetic is not replayed in another. */
const keyed = (name: string): string => `${arithmetic()} ${name}`

/**
 * Runs pieces of work by key, replaying those that it knows. Dispose it with what it worked on. Whatever may differ between two runs
 * of one key must come in through {@link Recorder.put} and {@link Recorder.number}, and results must be written into tensors that
 * stay; the work may leave no other tensor behind.
 */
export class Recorder {
  /** How often work was replayed, the dispatches and copies of those replays, and the host's ms for them. */
  readonly replayed = { runs: 0, commands: 0, ms: 0 }
  readonly #enabled: boolean
  readonly #watched: readonly tf.Tensor[]
  readonly #entries = new Map<string, Entry>()
  readonly #refused = new Set<string>()
  readonly #inputs = new Map<string, tf.Tensor>()

  /**
   * @param enabled false runs everything through the ops.
   * @param watched tensors that may be given other memory between runs: what was recorded with the former is recorded anew.
   */
  constructor({ enabled = true, watched = [] }: { enabled?: boolean; watched?: readonly tf.Tensor[] } = {}) {
    this.#enabled = enabled
    this.#watched = watched
  }

  /**
   * Values that change from run to run, as a tensor that stays where it is: good until the next `put` of the same name and length.
   * The recorder disposes it. Nothing waits.
   */
  put(name: string, values: Float32Array | Int32Array, shape: number[] = [values.length]): tf.Tensor {
    const dtype = values instanceof Int32Array ? 'int32' : 'float32'
    const key = onGPU() ? `${name} ${shape.join()}` : name
    const known = this.#inputs.get(key)
    if (!onGPU()) {
      known?.dispose()
      return this.#keep(key, tf.tensor(values, shape, dtype))
    }
    const gpu = gpuBackend()
    const tensor = known ?? this.#keep(key, tf.engine().makeTensorFromTensorInfo(gpu.makeTensorInfo(shape, dtype)))
    gpu.uploadToGPU(tensor.dataId)
    const entry = gpu.tensorMap.get(tensor.dataId)
    entry.values = null
    flush(gpu) // what was encoded before reads the values from before
    gpu.queue.writeBuffer(entry.resource!, 0, values)
    return tensor
  }

  /** A number that changes from run to run: a scalar on a GPU, elsewhere the number itself. */
  number(name: string, value: number, dtype: 'float32' | 'int32' = 'float32'): number | tf.Scalar {
    if (!onGPU()) return value
    return this.put(name, dtype === 'int32' ? Int32Array.of(value) : Float32Array.of(value), []) as tf.Scalar
  }

  /** Runs the work, or what is recorded of it under this key in the arithmetic of the caller. */
  run(name: string, work: () => void): void {
    const key = keyed(name)
    if (!this.#enabled || !onGPU() || this.#refused.has(key)) return work()
    const entry = this.#entries.get(key)
    if (entry?.trusted && !entry.recording.dropped && this.#sees(entry)) return this.#replay(key, entry)
    const pool = this.#pool()
    this.#keepRecording(key, record(gpuBackend(), pool, entry !== undefined, work), pool)
  }

  /** As {@link Recorder.run}, for work in two parts. What the first leaves to the second must be freed by both, or by the caller where one fails. */
  async runParts(name: string, parts: Parts): Promise<void> {
    const key = keyed(name)
    if (!this.#enabled || !onGPU() || this.#refused.has(key)) {
      parts.first()
      await parts.between()
      return parts.second()
    }
    const entry = this.#entries.get(key)
    if (entry?.trusted && !entry.recording.dropped && this.#sees(entry)) {
      this.#replay(key, entry, 0, entry.recording.pauseAt)
      this.submit()
      await parts.between()
      return this.#replay(key, entry, entry.recording.pauseAt)
    }
    const pool = this.#pool()
    this.#keepRecording(key, await recordParts(gpuBackend(), pool, entry !== undefined, parts), pool)
  }

  /** Hands what is encoded to the device, so that it works while the host prepares the next run. */
  submit(): void {
    if (onGPU()) flush(gpuBackend())
  }

  /** Forgets every recording, and frees what they held. */
  forget(): void {
    for (const { recording } of this.#entries.values()) recording.drop()
    this.#entries.clear()
  }

  dispose(): void {
    this.forget()
    for (const tensor of this.#inputs.values()) tensor.dispose()
    this.#inputs.clear()
  }

  #keep(key: string, tensor: tf.Tensor): tf.Tensor {
    this.#inputs.set(key, tf.keep(tensor))
    return tensor
  }

  /** Whether the watched tensors lie where they lay. */
  #sees({ memory }: Entry): boolean {
    return this.#watched.every(({ dataId }, i) => dataId === memory[i])
  }

  #pool(): ReplayPool {
    const pool = ReplayPool.of(gpuBackend())
    if (this.#entries.size === 0) pool.trim()
    return pool
  }

  /** Trusts a recording that equals the one before it, whose buffers nobody needs, and gives up work that never does. */
  #keepRecording(key: string, recording: Recording, pool: ReplayPool): void {
    const former = this.#entries.get(key)
    const trusted = recording.complete && former !== undefined && former.recording.equals(recording)
    const trials = former && !former.trusted ? former.trials + 1 : 1
    former?.recording.drop()
    this.#entries.delete(key)
    if (!trusted) recording.drop()
    if (recording.complete && (trusted || trials < MOST_TRIALS)) {
      this.#entries.set(key, { recording, trusted, trials, memory: this.#watched.map(({ dataId }) => dataId) })
      this.#trim(pool)
    } else this.#refused.add(key)
  }

  #replay(key: string, entry: Entry, from = 0, to = entry.recording.commands.length): void {
    const started = performance.now()
    entry.recording.replay(from, to)
    this.replayed.ms += performance.now() - started
    if (to === entry.recording.commands.length) this.replayed.runs++
    this.replayed.commands += to - from
    this.#entries.delete(key)
    this.#entries.set(key, entry) // last in order: used last
  }

  /**
   * Forgets what was not used for longest beyond a number, and gives up its buffers while the arena is more than twice what the largest
   * recording needs.
   */
  #trim(pool: ReplayPool): void {
    const [oldest] = this.#entries
    if (oldest && this.#entries.size > MOST) {
      oldest[1].recording.drop()
      this.#entries.delete(oldest[0])
    }
    const kept = [...this.#entries.values()].filter(({ recording }) => !recording.dropped)
    const largest = Math.max(...kept.map(({ recording }) => pool.bytesOf(recording)))
    for (const { recording } of kept.slice(0, -1)) {
      if (pool.arenaBytes <= 2 * largest) return
      recording.drop()
    }
  }
}
