/**
 * Records the dispatches of a piece of work once and replays them, without going through ops, tape and tensors again: shapes repeat
 * from step to step, and the host's part of a dispatch falls from tens of microseconds to one or two. Refuses to guess what changes
 * between runs: that comes through `put` and `number`, and a recording counts only once a second run has made the same one.
 *
 * How work is recorded: it runs as ever, through a command encoder that notes what it passes on. Its tensors lie in an arena
 * (replay-pool.ts), so that a replay finds every buffer where it was. Off the GPU, and where work cannot be replayed (it leaves
 * tensors behind, or is never twice the same), work simply runs.
 */
import { tf } from '../tf'
import { gpuBackend, onGPU, uniformContents, writes, type Backend, type TensorData } from './gpu'
import { ReplayPool, type Holder } from './replay-pool'

/** One command of the recorded work. */
type Command =
  | {
      pipeline: GPUComputePipeline
      group: GPUBindGroup
      counts: [number, number, number]
      /** What its uniforms hold. */
      uniforms: string
    }
  | { copy: Parameters<GPUCommandEncoder['copyBufferToBuffer']> }

/** Commands after which a replay submits, so that no command buffer keeps a slow device for seconds (Windows resets it then). */
const SUBMIT_EVERY = 256
/** Recordings that one recorder keeps at most. */
const MOST = 24
/** Runs after which work that has never been the same twice is no longer recorded. */
const MOST_TRIALS = 4

/** Recorded work, and the buffers that it refers to. */
class Recording implements Holder {
  readonly buffers = new Set<GPUBuffer>()
  readonly own: GPUBuffer[] = []
  readonly commands: Command[] = []
  /** Where work of two parts waits for the host; 0 where it does not. */
  pauseAt = 0
  /** Tensors that stay and are written: what the backend remembers of their values is stale after a replay. */
  written: TensorData[] = []
  /** Values uploaded in the course of the work. */
  readonly constants: string[] = []
  dropped = false
  /** The work came to its end and left no tensor behind. */
  complete = false
  readonly #backend: Backend
  readonly #pool: ReplayPool

  constructor(backend: Backend, pool: ReplayPool) {
    this.#backend = backend
    this.#pool = pool
  }

  drop(): void {
    if (this.dropped) return
    this.dropped = true
    flush(this.#backend)
    this.#pool.forget(this)
  }

  /** Whether running the work again made the same dispatches on the same values. */
  equals(other: Recording): boolean {
    return (
      this.constants.join() === other.constants.join() &&
      this.commands.length === other.commands.length &&
      this.pauseAt === other.pauseAt &&
      this.commands.every((command, i) => sameCommand(command, other.commands[i]!))
    )
  }

  /** Commands from one to before another; all where left out. */
  replay(from = 0, to = this.commands.length): void {
    const gpu = this.#backend
    let pipeline: GPUComputePipeline | null = null
    let count = 0
    for (const command of this.commands.slice(from, to)) {
      if (count++ % SUBMIT_EVERY === SUBMIT_EVERY - 1) {
        flush(gpu)
        pipeline = null
      }
      gpu.ensureCommandEncoderReady()
      if ('copy' in command) {
        gpu.endComputePassEncoder()
        gpu.commandEncoder!.copyBufferToBuffer(...command.copy)
        pipeline = null
        continue
      }
      const pass = (gpu.computePassEncoder ??= gpu.commandEncoder!.beginComputePass())
      if (command.pipeline !== pipeline) pass.setPipeline((pipeline = command.pipeline))
      pass.setBindGroup(0, command.group)
      pass.dispatchWorkgroups(command.counts[0], command.counts[1], command.counts[2])
    }
    for (const data of this.written) data.values = null
  }
}

function sameCommand(a: Command, b: Command): boolean {
  if ('copy' in a || 'copy' in b) return 'copy' in a && 'copy' in b
  return a.pipeline === b.pipeline && a.uniforms === b.uniforms && a.counts.join() === b.counts.join()
}

/** Submits what the backend has encoded so far. */
function flush(gpu: Backend): void {
  if (!gpu.commandEncoder) return
  gpu.endComputePassEncoder()
  gpu.submitQueue()
}

/** A command encoder that notes what it passes on to the real one. */
function tee(real: GPUCommandEncoder, uniformsOf: WeakMap<GPUBindGroup, string>, into: Recording): GPUCommandEncoder {
  const beginComputePass = (descriptor?: GPUComputePassDescriptor) => {
    const pass = real.beginComputePass(descriptor)
    let [pipeline, group]: [GPUComputePipeline | null, GPUBindGroup | null] = [null, null]
    return {
      setPipeline: (next: GPUComputePipeline) => pass.setPipeline((pipeline = next)),
      setBindGroup: (index: number, next: GPUBindGroup) => pass.setBindGroup(index, (group = next)),
      dispatchWorkgroups(x: number, y = 1, z = 1) {
        into.commands.push({ pipeline: pipeline!, group: group!, counts: [x, y, z], uniforms: uniformsOf.get(group!)! })
        pass.dispatchWorkgroups(x, y, z)
      },
      end: () => pass.end(),
    }
  }
  const copyBufferToBuffer = (...copy: Parameters<GPUCommandEncoder['copyBufferToBuffer']>) => {
    into.commands.push({ copy })
    for (const part of copy) if (typeof part === 'object') into.buffers.add(part)
    real.copyBufferToBuffer(...copy)
  }
  return { beginComputePass, copyBufferToBuffer, finish: () => real.finish() } as unknown as GPUCommandEncoder
}

/** Gives the object methods of its own until the returned function is called. */
function override<T extends object>(target: T, methods: Partial<T>): () => void {
  Object.assign(target, methods)
  return () => {
    for (const name of Object.keys(methods)) Reflect.deleteProperty(target, name)
  }
}

const nothingOwned = { add: () => undefined, has: () => false } as unknown as WeakSet<object>

/** Notes commands, constants and every bound buffer in a recording until {@link Taping.stop}. */
class Taping {
  readonly #gpu: Backend
  readonly #recording: Recording
  readonly #pool: ReplayPool
  readonly #written = new Set<TensorData>()
  readonly #uniformsOf = new WeakMap<GPUBindGroup, string>()
  #restore: (() => void)[] = []

  constructor(gpu: Backend, pool: ReplayPool) {
    this.#gpu = gpu
    this.#pool = pool
    this.#recording = new Recording(gpu, pool)
  }

  /** Runs a part of the work; parts may be apart in time, and what one leaves behind is there for the next. */
  run(part: () => void): void {
    this.#start()
    try {
      part()
    } finally {
      this.#stop()
    }
  }

  /** Everything up to here comes before the pause. */
  pauseHere(): void {
    this.#recording.pauseAt = this.#recording.commands.length
  }

  /** The recording; dropped already where the work did not come to its end or left tensors behind. */
  end(complete: boolean): Recording {
    const recording = this.#recording
    const left = this.#pool.end(recording)
    recording.complete = complete && left === 0
    recording.written = [...this.#written].filter(({ resource }) => resource !== null)
    if (!recording.complete) recording.drop()
    return recording
  }

  #start(): void {
    const gpu = this.#gpu
    const { device } = gpu
    const recording = this.#recording
    const original = {
      createBindGroup: device.createBindGroup.bind(device),
      makeUniforms: gpu.makeUniforms.bind(gpu),
      uploadToGPU: gpu.uploadToGPU.bind(gpu),
      submitQueue: gpu.submitQueue.bind(gpu),
    }
    flush(gpu)
    const restoreDevice = override(device, {
      createBindGroup: (descriptor: GPUBindGroupDescriptor) => {
        const group = original.createBindGroup(descriptor)
        let uniforms = ''
        for (const { resource } of descriptor.entries) {
          const { buffer } = resource as GPUBufferBinding
          recording.buffers.add(buffer)
          uniforms += uniformContents.get(buffer) ?? ''
        }
        this.#uniformsOf.set(group, uniforms)
        return group
      },
    })
    const restoreBackend = override(gpu, {
      ensureCommandEncoderReady: () => {
        gpu.commandEncoder ??= tee(device.createCommandEncoder(), this.#uniformsOf, recording)
      },
      makeUniforms: (values: unknown) => {
        const made = original.makeUniforms(values)
        uniformContents.set(made.buffer, JSON.stringify(values))
        return made
      },
      uploadToGPU: (id: object) => {
        const { resource, values } = gpu.tensorMap.get(id)
        if (!resource && values) recording.constants.push(digest(values))
        original.uploadToGPU(id)
      },
      // Commands run in order, so a buffer may be used again as soon as its tensor is gone: nothing waits for a submit.
      submitQueue: () => {
        original.submitQueue()
        gpu.commandQueueOwnedIds = nothingOwned
      },
    })
    this.#restore = [restoreBackend, restoreDevice]
    gpu.commandQueueOwnedIds = nothingOwned
    writes.listener = (data) => this.#written.add(data)
    this.#pool.begin(recording)
  }

  #stop(): void {
    flush(this.#gpu)
    this.#pool.pause()
    writes.listener = null
    for (const restore of this.#restore) restore()
    this.#gpu.commandQueueOwnedIds = new WeakSet()
  }
}

/** Runs the work once while noting its commands, its constants and every buffer that it binds. */
function record(gpu: Backend, pool: ReplayPool, work: () => void): Recording {
  const taping = new Taping(gpu, pool)
  let complete = false
  let recording: Recording
  try {
    taping.run(work)
    complete = true
  } finally {
    recording = taping.end(complete)
  }
  return recording
}

/** The same for work that waits between its two parts. */
async function recordParts(gpu: Backend, pool: ReplayPool, { first, between, second }: Parts): Promise<Recording> {
  const taping = new Taping(gpu, pool)
  let complete = false
  let recording: Recording
  try {
    taping.run(first)
    taping.pauseHere()
    await between()
    taping.run(second)
    complete = true
  } finally {
    recording = taping.end(complete)
  }
  return recording
}

/** A short stand-in for values (FNV-1a over their 32-bit words). */
function digest(values: unknown): string {
  if (!ArrayBuffer.isView(values) || values.byteLength % 4 !== 0) return String(values)
  const words = new Uint32Array(values.buffer, values.byteOffset, values.byteLength / 4)
  let hash = 0x811c9dc5
  for (const word of words) hash = Math.imul(hash ^ word, 0x01000193)
  return `${words.length}:${hash >>> 0}`
}

/** Work that waits for the host in its midst: the first part leaves to the second what it likes, between them nothing else is recorded. */
export interface Parts {
  first(): void
  between(): Promise<void>
  second(): void
}

interface Entry {
  recording: Recording
  /** A second run made the same recording: from now on it is replayed. */
  trusted: boolean
  /** Runs since the last recording that was trusted. */
  trials: number
  /** Where the watched tensors lay. */
  memory: object[]
}

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

  /** Runs the work, or what is recorded of it under this key. */
  run(key: string, work: () => void): void {
    if (!this.#enabled || !onGPU() || this.#refused.has(key)) return work()
    const entry = this.#entries.get(key)
    if (entry?.trusted && !entry.recording.dropped && this.#sees(entry)) return this.#replay(key, entry)
    const pool = this.#pool()
    this.#keepRecording(key, record(gpuBackend(), pool, work), pool)
  }

  /** As {@link Recorder.run}, for work in two parts. What the first leaves to the second must be freed by both, or by the caller where one fails. */
  async runParts(key: string, parts: Parts): Promise<void> {
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
    this.#keepRecording(key, await recordParts(gpuBackend(), pool, parts), pool)
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

  /** Trusts a recording that equals the one before it, and gives up work that never does. */
  #keepRecording(key: string, recording: Recording, pool: ReplayPool): void {
    const former = this.#entries.get(key)
    const trusted = former !== undefined && !former.recording.dropped && former.recording.equals(recording)
    const trials = former && !former.trusted ? former.trials + 1 : 1
    former?.recording.drop()
    this.#entries.delete(key)
    if (recording.complete && (trusted || trials < MOST_TRIALS)) {
      this.#entries.set(key, { recording, trusted, trials, memory: this.#watched.map(({ dataId }) => dataId) })
      this.#trim(pool)
    } else {
      recording.drop()
      this.#refused.add(key)
    }
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

  /** Drops what was not used for longest: beyond a number, and while the arena is more than twice what the largest recording needs. */
  #trim(pool: ReplayPool): void {
    let largest = 0
    for (const { recording } of this.#entries.values()) largest = Math.max(largest, pool.bytesOf(recording))
    for (const [key, { recording }] of this.#entries) {
      if (this.#entries.size <= 1 || (this.#entries.size <= MOST && pool.arenaBytes <= 2 * largest)) return
      recording.drop()
      this.#entries.delete(key)
    }
  }
}
