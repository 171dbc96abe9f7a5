/**
 * The buffers of recorded work. While a recording is made, what it computes lands in an arena that all recordings share (they never
 * run at once) and nobody else draws from: short batches lie in the buffers of long ones. What it only reads is watched, and a recording
 * dies as soon as one of those is given up. Refuses to know what the work computes.
 */
import type { Backend, BufferPool } from './gpu'

/** As the backend asks for the buffers of its tensors. */
const TENSOR_USAGE = 4 | 8 | 128 // COPY_SRC | COPY_DST | STORAGE

interface InnerPool extends BufferPool {
  freeBuffers: Map<string, GPUBuffer[]>
  usedBuffers: Map<string, GPUBuffer[]>
  numUsedBuffers: number
  numFreeBuffers: number
}

/** A buffer may lie in one that is larger by so much. */
const MOST_SLACK = 4

/** Who refers to buffers; see {@link ReplayPool}. */
export interface Holder {
  /** Every buffer that it refers to. */
  readonly buffers: ReadonlySet<GPUBuffer>
  /** Buffers that nobody else has any more: constants and uniforms of its own. They are destroyed with it. */
  readonly own: GPUBuffer[]
  /** Called when a buffer that it reads is about to be used for something else. */
  drop(): void
}

/** Stands in for the backend's pool and passes everything on that has to do with no recording. */
export class ReplayPool implements BufferPool {
  readonly #backend: Backend
  readonly #inner: InnerPool
  /** Every arena buffer, and the free ones by size. */
  readonly #arena = new Set<GPUBuffer>()
  readonly #free = new Map<number, GPUBuffer[]>()
  /** What the present recording took from the arena, and as what size: each serves it for one size only, as if it had no more. */
  readonly #taken = new Map<GPUBuffer, number>()
  /** Buffers of the inner pool that it would not give out again. */
  readonly #fresh = new WeakSet<GPUBuffer>()
  readonly #holders = new Map<GPUBuffer, Set<Holder>>()
  #recording: Holder | null = null
  #lends = false
  #bytes = 0

  private constructor(backend: Backend) {
    this.#backend = backend
    this.#inner = backend.bufferManager as InnerPool
    backend.bufferManager = this
  }

  /** The pool of a backend, put in its place at the first call. */
  static of(backend: Backend): ReplayPool {
    return backend.bufferManager instanceof ReplayPool ? backend.bufferManager : new ReplayPool(backend)
  }

  get numBytesUsed(): number {
    return this.#inner.numBytesUsed + this.#bytes
  }

  get numBytesAllocated(): number {
    return this.#inner.numBytesAllocated + this.#bytes
  }

  /** Bytes of the arena. */
  get arenaBytes(): number {
    return this.#bytes
  }

  acquireBuffer(size: number, usage: number, mapped = false, reuse = true): GPUBuffer {
    if (!this.#recording) return this.#inner.acquireBuffer(size, usage, mapped, reuse)
    if (usage === TENSOR_USAGE && !mapped) return this.#take(size)
    // Uniforms and constants: fresh ones, which are never written again. The inner pool wants a list for their way back.
    const key = `${size}_${usage}`
    if (!this.#inner.freeBuffers.has(key)) this.#inner.freeBuffers.set(key, [])
    const buffer = this.#inner.acquireBuffer(size, usage, mapped, false)
    this.#fresh.add(buffer)
    return buffer
  }

  releaseBuffer(buffer: GPUBuffer, reuse = true): void {
    if (this.#arena.has(buffer)) {
      this.#free.get(this.#taken.get(buffer) ?? buffer.size)!.push(buffer)
      return
    }
    for (const holder of [...(this.#holders.get(buffer) ?? [])]) holder.drop()
    if (this.#recording?.buffers.has(buffer)) {
      this.#recording.own.push(buffer)
    } else {
      this.#inner.releaseBuffer(buffer, reuse && !this.#fresh.has(buffer))
    }
  }

  /** Destroys what lies unused in the backend's own pool, which would keep it for ever. */
  trim(): void {
    for (const buffers of this.#inner.freeBuffers.values()) {
      for (const buffer of buffers.splice(0)) {
        this.#inner.numFreeBuffers--
        this.#inner.numBytesAllocated -= buffer.size
        buffer.destroy()
      }
    }
  }

  /**
   * From here on buffers belong to `holder`.
   * @param lends whether they may be larger than asked for: for work that leaves no tensor behind, whose values would be read with them.
   */
  begin(holder: Holder, lends: boolean): void {
    this.#recording = holder
    this.#lends = lends
  }

  /** Until the next {@link begin}, buffers are nobody's again; what the holder's tensors hold stays theirs. */
  pause(): void {
    this.#recording = null
  }

  /**
   * Ends what {@link begin} began, and watches the holder's buffers. Returns how many tensors the work left behind; their buffers
   * leave the arena, where nothing may outlive its work.
   */
  end(holder: Holder): number {
    this.#recording = null
    this.#takeBack()
    const left = this.#held()
    for (const buffer of left) {
      for (const other of [...(this.#holders.get(buffer) ?? [])]) other.drop()
      this.#handOver(buffer)
    }
    for (const buffer of holder.buffers) {
      const others = this.#holders.get(buffer)
      if (others) others.add(holder)
      else this.#holders.set(buffer, new Set([holder]))
    }
    return left.length
  }

  /** Lets go of a holder's buffers: its own and arena buffers that no other holder needs are destroyed. */
  forget(holder: Holder): void {
    const unused = new Set<GPUBuffer>()
    for (const buffer of holder.buffers) {
      const holders = this.#holders.get(buffer)
      holders?.delete(holder)
      if (holders?.size !== 0) continue
      this.#holders.delete(buffer)
      if (this.#arena.has(buffer) && !this.#taken.has(buffer)) unused.add(buffer)
    }
    for (const [size, buffers] of this.#free) {
      const idle = buffers.filter((buffer) => unused.has(buffer))
      if (idle.length === 0) continue
      this.#free.set(
        size,
        buffers.filter((buffer) => !unused.has(buffer)),
      )
      for (const buffer of idle) this.#destroy(buffer)
    }
    for (const buffer of holder.own.splice(0)) this.#inner.releaseBuffer(buffer, false)
  }

  /** Bytes of the arena buffers among a holder's. */
  bytesOf(holder: Holder): number {
    let bytes = 0
    for (const buffer of holder.buffers) if (this.#arena.has(buffer)) bytes += buffer.size
    return bytes
  }

  dispose(): void {
    for (const buffer of this.#arena) buffer.destroy()
    this.#arena.clear()
    this.#free.clear()
    this.#bytes = 0
    this.#inner.dispose()
  }

  /** Arena buffers that tensors hold. */
  #held(): GPUBuffer[] {
    const free = new Set([...this.#free.values()].flat())
    return [...this.#arena].filter((buffer) => !free.has(buffer))
  }

  /** Makes an arena buffer an ordinary one of the backend's. */
  #handOver(buffer: GPUBuffer): void {
    const key = `${buffer.size}_${buffer.usage}`
    for (const lists of [this.#inner.usedBuffers, this.#inner.freeBuffers]) if (!lists.has(key)) lists.set(key, [])
    this.#arena.delete(buffer)
    this.#bytes -= buffer.size
    this.#inner.usedBuffers.get(key)!.push(buffer)
    this.#inner.numUsedBuffers++
    this.#inner.numBytesUsed += buffer.size
    this.#inner.numBytesAllocated += buffer.size
  }

  #take(size: number): GPUBuffer {
    if (!this.#free.has(size)) this.#free.set(size, [])
    const buffer = this.#free.get(size)!.pop() ?? (this.#lends ? this.#borrow(size) : null) ?? this.#create(size)
    this.#taken.set(buffer, size)
    return buffer
  }

  /** The smallest free buffer that is larger than `size`, though not by too much, and serves the present recording for nothing else. */
  #borrow(size: number): GPUBuffer | null {
    const sizes = [...this.#free.keys()].filter((other) => other > size && other <= MOST_SLACK * size)
    for (const other of sizes.sort((a, b) => a - b)) {
      const buffers = this.#free.get(other)!
      const at = buffers.findIndex((buffer) => !this.#taken.has(buffer))
      if (at >= 0) return buffers.splice(at, 1)[0]!
    }
    return null
  }

  /** Puts what the present recording took under its own size again. */
  #takeBack(): void {
    for (const [buffer, size] of this.#taken) {
      if (size === buffer.size) continue
      const buffers = this.#free.get(size)!
      const at = buffers.indexOf(buffer)
      if (at >= 0) this.#free.get(buffer.size)!.push(...buffers.splice(at, 1))
    }
    this.#taken.clear()
  }

  #create(size: number): GPUBuffer {
    const buffer = this.#backend.device.createBuffer({ size, usage: TENSOR_USAGE })
    this.#arena.add(buffer)
    this.#bytes += size
    return buffer
  }

  #destroy(buffer: GPUBuffer): void {
    this.#arena.delete(buffer)
    this.#bytes -= buffer.size
    buffer.destroy()
  }
}
