/**
 * A weight matrix that is never trained, in the layouts and the precision that the backend keeps it in.
 * Refuses to be changed: adapters add to what it computes, merging makes a new one.
 */
import { CodedError } from '../../shared/errors'
import { tf } from '../tf'
import { dispatch, emptyTensor, gpuDevice, onGPU, spread, type Binding } from './gpu'
import { heapRows, onHeap } from './heap'
import { pack, packedType, unpack, unpackWGSL, type Precision } from './packing'
import { elementMain } from './reduce'

/** Packed weights on the device; see packing.ts. */
export interface Packed {
  precision: 'f16' | 'int8'
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

/**
 * A frozen `[out, in]` matrix. On webgpu one buffer serves W and Wᵀ, and f16 and int8 stay packed there. Elsewhere values are
 * rounded to the precision but kept in f32, and the transposed copy is made when it is first needed: the wasm backend's matmul
 * is several times slower with a transpose flag than without. (That backend also keeps a packed copy of every right factor.)
 */
export class FrozenMatrix {
  readonly out: number
  readonly in: number
  #natural: tf.Tensor2D | null
  #transposed: tf.Tensor2D | null = null
  #packed: Packed | null

  private constructor(out: number, inn: number, natural: tf.Tensor2D | null, packed: Packed | null) {
    this.out = out
    this.in = inn
    this.#natural = natural
    this.#packed = packed
  }

  /** Copies row-major `[out, inn]` values to the device; throws when their number is not `out * inn`. Rows of odd width stay f32. */
  static from(values: Float32Array, out: number, inn: number, precision: Precision = 'f32'): FrozenMatrix {
    if (values.length !== out * inn) throw new Error(`${values.length} values for a ${out} by ${inn} matrix`)
    const plain = precision === 'f32' || inn % 4 !== 0
    if (onGPU()) checkBuffer(values.length * (plain ? 4 : precision === 'f16' ? 2 : 1), gpuDevice().limits)
    if (plain) return new FrozenMatrix(out, inn, tf.keep(tf.tensor2d(values, [out, inn], 'float32')), null)
    const packed = pack(values, inn, precision)
    if (!onGPU()) return new FrozenMatrix(out, inn, tf.keep(tf.tensor2d(unpack(packed), [out, inn])), null)
    const { words, scales, group } = packed
    return new FrozenMatrix(out, inn, null, {
      precision,
      words: tf.keep(tf.tensor1d(words, 'int32')),
      scales: scales && tf.keep(tf.tensor1d(scales)),
      group,
    })
  }

  /** Bytes held on the device now (both layouts where both exist). */
  get bytes(): number {
    const { words, scales } = this.#packed ?? { words: null, scales: null }
    const size = (tensor: tf.Tensor | null): number => (tensor ? tensor.size * 4 : 0)
    return size(this.#natural) + size(this.#transposed) + size(words) + size(scales)
  }

  /** Packed weights where they are packed: for programs only. */
  get packed(): Packed | null {
    return this.#packed
  }

  /** W as `[out, in]`. Owned by this object, do not dispose; where weights are packed it is a new tensor, so call it inside tf.tidy. */
  natural(): tf.Tensor2D {
    return this.#natural ?? this.#rows(null)
  }

  /** Wᵀ as `[in, out]`, owned as W is. Made at the first call. */
  transposed(): tf.Tensor2D {
    if (this.#packed) return tf.tidy(() => tf.transpose(this.natural()))
    this.#transposed ??= tf.keep(tf.tidy(() => tf.transpose(this.natural())))
    return this.#transposed
  }

  /** Rows at int32 `ids` `[n]` → `[n, in]`. */
  rows(ids: tf.Tensor1D): tf.Tensor2D {
    if (!this.#natural) return this.#rows(ids)
    return onHeap() ? heapRows(this.#natural, ids) : tf.gather(this.#natural, ids)
  }

  /** The plain values as a new f32 `[out, in]` tensor, owned by the caller. */
  dequantise(): tf.Tensor2D {
    return this.#natural ? this.#natural.clone() : this.#rows(null)
  }

  dispose(): void {
    tf.dispose(
      [this.#natural, this.#transposed, this.#packed?.words, this.#packed?.scales].filter(
        (tensor): tensor is tf.Tensor => Boolean(tensor),
      ),
    )
    this.#natural = this.#transposed = this.#packed = null
  }

  /** Unpacks some rows, or all of them, on the device. */
  #rows(ids: tf.Tensor1D | null): tf.Tensor2D {
    if (!this.#packed) throw new Error('This matrix was disposed.')
    const { precision, words, scales, group } = this.#packed
    const rows = ids ? ids.shape[0] : this.out
    const y = emptyTensor<tf.Rank.R2>([rows, this.in])
    const bindings: Record<string, Binding> = {
      y: { tensor: y, type: 'vec4<f32>', write: true },
      w: { tensor: words, type: packedType(precision) },
    }
    if (scales) bindings.w_scales = { tensor: scales, type: 'f32' }
    if (ids) bindings.ids = { tensor: ids, type: 'i32' }
    const size = (rows * this.in) / 4
    dispatch({
      key: `unpack ${precision} ${group} ${ids ? 'rows' : 'all'}`,
      bindings,
      uniforms: { size, width: this.in / 4 },
      workgroups: spread(Math.ceil(size / 64)),
      code: () =>
        elementMain(`var v: vec4<f32>;
    let at = ${ids ? 'u32(ids[i / u.width]) * u.width + i % u.width' : 'i'};
    ${unpackWGSL('w', precision, group)}
    y[i] = v;`),
    })
    return y
  }
}
