/**
 * What a piece of work dispatched: its commands, the values it uploaded and the buffers it bound, noted by a command encoder that passes
 * all on, so that they can be run again. Refuses to say when: that is replay.ts.
 */
import { uniformContents, writes, type Backend, type TensorData } from './gpu'
import type { Holder, ReplayPool } from './replay-pool'

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
/** Recorded work, and the buffers that it refers to. */
export class Recording implements Holder {
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
export function flush(gpu: Backend): void {
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
  readonly #known: boolean
  readonly #written = new Set<TensorData>()
  readonly #uniformsOf = new WeakMap<GPUBindGroup, string>()
  #restore: (() => void)[] = []

  constructor(gpu: Backend, pool: ReplayPool, known: boolean) {
    this.#gpu = gpu
    this.#pool = pool
    this.#known = known
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
    this.#pool.begin(recording, this.#known)
  }

  #stop(): void {
    flush(this.#gpu)
    this.#pool.pause()
    writes.listener = null
    for (const restore of this.#restore) restore()
    this.#gpu.commandQueueOwnedIds = new WeakSet()
  }
}

/** Work that waits for the host in its midst: the first part leaves to the second what it likes, between them nothing else is recorded. */
export interface Parts {
  first(): void
  between(): Promise<void>
  second(): void
}

/**
 * Runs the work once while noting its commands, its constants and every buffer that it binds.
 * @param known whether it left no tensor behind when it ran before.
 */
export function record(gpu: Backend, pool: ReplayPool, known: boolean, work: () => void): Recording {
  const taping = new Taping(gpu, pool, known)
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
export async function recordParts(
  gpu: Backend,
  pool: ReplayPool,
  known: boolean,
  { first, between, second }: Parts,
): Promise<Recording> {
  const taping = new Taping(gpu, pool, known)
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
