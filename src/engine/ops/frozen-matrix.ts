/**
 * A weight matrix in the layouts and the precision that the backend keeps it in: one that is never trained, or a view of a trained
 * variable. Refuses to be changed by itself: adapters add to what it computes, an optimiser changes the variable.
 */
import { CodedError } from '../../shared/errors'
import { tf } from '../tf'
import { dispatch, emptyTensor, gpuDevice, onGPU, spread, uploadNow, type Binding } from './gpu'
import { heapRows, onHeap } from './heap'
import { HostWeights } from './host-weights'
import {
  pack,
  packedBytes,
  packedHeader,
  packedType,
  scaleType,
  unpack,
  unpackWGSL,
  type Narrow,
  type PackedValues,
  type Precision,
} from './packing'
import { elementMain } from './reduce'

/** Packed weights on the device; see packing.ts. */
export interface Packed {
  precision: Narrow
  words: tf.Tensor
  scales: tf.Tensor | null
  group: number
}

/** Throws CodedError `memory.budget` where a GPU does not take so many bytes in one buffer; beyond the limit it would fail silently. */
export function checkBuffer(
  bytes: number,
  limits: Pick<GPUSupportedLimits, 'maxBufferSize' | 'maxStorageBufferBindingSize'>,
): void {
  const most = Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize)
  if (bytes <= most) return
  const mebibytes = (count: number): string => `${Math.ceil(count / 2 ** 20)} MiB`
  throw new CodedError(
    'memory.budget',
    `One weight matrix of this model takes ${mebibytes(bytes)}, and this GPU takes ${mebibytes(most)} in one piece.`,
    { fix: 'Take a smaller model, or the WebAssembly backend.' },
  )
}

/** What holds a matrix: a plain tensor, packed words on a GPU, or packed words on the host beside the wasm backend's memory. */
type Store =
  | { kind: 'plain'; natural: tf.Tensor2D; transposed: tf.Tensor2D | null }
  | { kind: 'trained'; variable: tf.Variable; transposed: { of: object; tensor: tf.Tensor2D } | null }
  | { kind: 'packed'; packed: Packed }
  | { kind: 'host'; weights: HostWeights }

/**
 * A frozen `[out, in]` matrix. On webgpu one buffer serves W and Wᵀ. On wasm a plain matrix is kept in both layouts (the second
 * from its first use on), because that backend's matmul is several times slower with a transpose flag than without, and the
 * backend keeps a packed copy of both: four times the bytes for speed. Everything narrower than f32 stays packed outside that
 * backend's memory, and each product unpacks what it needs, tile by tile. On other backends values are rounded and kept in f32.
 */
export class FrozenMatrix {
  readonly out: number
  readonly in: number
  #store: Store | null
  #rowSquares: tf.Tensor1D | null = null
  #held = false

  private constructor(out: number, inn: number, store: Store) {
    this.out = out
    this.in = inn
    this.#store = store
  }

  /**
   * Copies row-major `[out, inn]` values to the device; throws when their number is not `out * inn`. Rows of odd width stay f32.
   * @param spare f32 values, too, stay outside the memory of the wasm backend, which then takes them over without a copy.
   */
  static from(
    values: Float32Array,
    out: number,
    inn: number,
    precision: Precision = 'f32',
    spare = false,
  ): FrozenMatrix {
    if (values.length !== out * inn) throw new Error(`${values.length} values for a ${out} by ${inn} matrix`)
    const kept = inn % 4 === 0 ? precision : 'f32'
    if (kept === 'f32' && !(spare && onHeap())) {
      if (onGPU()) checkBuffer(values.byteLength, gpuDevice().limits)
      return new FrozenMatrix(out, inn, plainStore(values, out, inn))
    }
    const packed = pack(values, inn, kept)
    if (onGPU()) return new FrozenMatrix(out, inn, { kind: 'packed', packed: upload(packed as NarrowValues) })
    if (onHeap()) return new FrozenMatrix(out, inn, { kind: 'host', weights: new HostWeights(packed, out, inn) })
    return new FrozenMatrix(out, inn, plainStore(unpack(packed, values.length), out, inn))
  }

  /** A trained `[out, in]` variable as a matrix, which does not own it. */
  static over(variable: tf.Variable): FrozenMatrix {
    const [out, inn] = variable.shape as [number, number]
    return new FrozenMatrix(out, inn, { kind: 'trained', variable, transposed: null })
  }

  /** The variable that this is a view of; null where it is frozen, or held. */
  get trained(): tf.Variable | null {
    return this.#store?.kind === 'trained' && !this.#held ? this.#store.variable : null
  }

  /** Whether the variable is left as it is for now. */
  hold(held: boolean): void {
    this.#held = held
  }

  /** Bytes held now (both layouts where both exist), on the device or on the host beside it. */
  get bytes(): number {
    const store = this.#store
    const size = (tensor: tf.Tensor | null): number => (tensor ? tensor.size * 4 : 0)
    if (store?.kind === 'trained') return size(store.transposed?.tensor ?? null)
    if (store?.kind === 'plain') return size(store.natural) + size(store.transposed)
    if (store?.kind === 'packed') return size(store.packed.words) + size(store.packed.scales)
    return store?.weights.bytes ?? 0
  }

  /** Packed weights where they are packed on a GPU: for programs only. */
  get packed(): Packed | null {
    return this.#store?.kind === 'packed' ? this.#store.packed : null
  }

  /** W as `[out, in]`. Owned by this object, do not dispose; where weights are packed it is a new tensor, so call it inside tf.tidy. */
  natural(): tf.Tensor2D {
    const store = this.#stored()
    if (store.kind === 'plain') return store.natural
    if (store.kind === 'trained') return store.variable as tf.Tensor as tf.Tensor2D
    return store.kind === 'host' ? store.weights.whole() : this.#rows(store.packed, null)
  }

  /** x·Wᵀ: `[n, in]` → `[n, out]`, in plain TensorFlow.js. */
  forward(x: tf.Tensor2D): tf.Tensor2D {
    const store = this.#stored()
    if (store.kind === 'host') return store.weights.forward(x)
    if (store.kind === 'packed') return tf.tidy(() => tf.matMul(x, tf.transpose(this.natural())))
    if (store.kind === 'trained') return tf.matMul(x, this.#turned(store))
    store.transposed ??= tf.keep(tf.tidy(() => tf.transpose(store.natural)))
    return tf.matMul(x, store.transposed)
  }

  /** dy·W: `[n, out]` → `[n, in]`, in plain TensorFlow.js. */
  backward(dy: tf.Tensor2D): tf.Tensor2D {
    const store = this.#stored()
    if (store.kind === 'host') return store.weights.backward(dy)
    return tf.tidy(() => tf.matMul(dy, this.natural()))
  }

  /** Rows at int32 `ids` `[n]` → `[n, in]`. */
  rows(ids: tf.Tensor1D): tf.Tensor2D {
    const store = this.#stored()
    if (store.kind === 'host') return store.weights.rows(ids)
    if (store.kind === 'packed') return this.#rows(store.packed, ids)
    return onHeap() ? heapRows(this.natural(), ids) : tf.gather(this.natural(), ids)
  }

  /** The sum of squares of each row, `[out]`; owned as W is. Made at the first call. */
  rowSquares(): tf.Tensor1D {
    this.#rowSquares ??= tf.keep(tf.tidy(() => tf.sum(tf.square(this.natural()), 1) as tf.Tensor1D))
    return this.#rowSquares
  }

  /** The plain values as a new f32 `[out, in]` tensor, owned by the caller. */
  dequantise(): tf.Tensor2D {
    const natural = this.natural()
    return this.#store?.kind === 'plain' || this.#store?.kind === 'trained' ? natural.clone() : natural
  }

  dispose(): void {
    const store = this.#store
    this.#store = null
    this.#rowSquares?.dispose()
    this.#rowSquares = null
    if (store?.kind === 'trained') store.transposed?.tensor.dispose()
    if (store?.kind === 'plain') tf.dispose([store.natural, ...(store.transposed ? [store.transposed] : [])])
    if (store?.kind === 'host') store.weights.dispose()
    if (store?.kind === 'packed')
      tf.dispose([store.packed.words, ...(store.packed.scales ? [store.packed.scales] : [])])
  }

  /** Wᵀ as it is now: an update gives the variable other memory on this path, and is seen by that. */
  #turned(store: Store & { kind: 'trained' }): tf.Tensor2D {
    const of = store.variable.dataId
    if (store.transposed?.of !== of) {
      store.transposed?.tensor.dispose()
      store.transposed = { of, tensor: tf.keep(tf.tidy(() => tf.transpose(this.natural()))) }
    }
    return store.transposed.tensor
  }

  #stored(): Store {
    if (!this.#store) throw new Error('This matrix was disposed.')
    return this.#store
  }

  /** Unpacks some rows, or all of them, on the device. */
  #rows({ precision, words, scales, group }: Packed, ids: tf.Tensor1D | null): tf.Tensor2D {
    const rows = ids ? ids.shape[0] : this.out
    const y = emptyTensor<tf.Rank.R2>([rows, this.in])
    const bindings: Record<string, Binding> = {
      y: { tensor: y, type: 'vec4<f32>', write: true },
      w: { tensor: words, type: packedType(precision) },
    }
    if (scales) bindings.w_scales = { tensor: scales, type: scaleType(precision) }
    if (ids) bindings.ids = { tensor: ids, type: 'i32' }
    const size = (rows * this.in) / 4
    dispatch({
      key: `unpack ${precision} ${group} ${ids ? 'rows' : 'all'}`,
      bindings,
      uniforms: { size, width: this.in / 4 },
      workgroups: spread(Math.ceil(size / 64)),
      code: () =>
        `${packedHeader(precision)}
${elementMain(`var v: vec4<f32>;
    let at = ${ids ? 'u32(ids[i / u.width]) * u.width + i % u.width' : 'i'};
    ${unpackWGSL('w', precision, group)}
    y[i] = v;`)}`,
    })
    return y
  }
}

function plainStore(values: Float32Array, out: number, inn: number): Store {
  const natural = tf.keep(tf.tensor2d(values, [out, inn], 'float32'))
  if (onGPU()) uploadNow(natural)
  return { kind: 'plain', natural, transposed: null }
}

type NarrowValues = PackedValues & { precision: Narrow }

/** Puts packed words into buffers of the GPU at once, so that the host can forget them. */
function upload(values: NarrowValues): Packed {
  checkBuffer(packedBytes(values), gpuDevice().limits)
  const { precision, words, scales, group } = values
  const tensor = (part: Int32Array | Float32Array): tf.Tensor => {
    const made = tf.keep(tf.tensor1d(part, part instanceof Int32Array ? 'int32' : 'float32'))
    uploadNow(made)
    return made
  }
  return { precision, words: tensor(words), scales: scales && tensor(scales), group }
}
