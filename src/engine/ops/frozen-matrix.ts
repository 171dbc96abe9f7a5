/**
 * A weight matrix that is never trained, in the layouts that the backend multiplies fastest.
 * Refuses to be changed: adapters add to what it computes, merging makes a new one.
 */
import { tf } from '../tf'

/**
 * A frozen `[out, in]` matrix. On webgpu one buffer serves W and Wᵀ. Elsewhere the transposed copy is made when it is first
 * needed: the wasm backend's matmul is several times slower with a transpose flag than without.
 */
export class FrozenMatrix {
  readonly out: number
  readonly in: number
  #natural: tf.Tensor2D
  #transposed: tf.Tensor2D | null = null

  private constructor(natural: tf.Tensor2D) {
    this.out = natural.shape[0]
    this.in = natural.shape[1]
    this.#natural = natural
  }

  /** Copies row-major `[out, inn]` values to the device; throws when their number is not `out * inn`. */
  static from(values: Float32Array, out: number, inn: number): FrozenMatrix {
    if (values.length !== out * inn) throw new Error(`${values.length} values for a ${out} by ${inn} matrix`)
    return new FrozenMatrix(tf.keep(tf.tensor2d(values, [out, inn], 'float32')))
  }

  /** Bytes held on the device now (both layouts where both exist). */
  get bytes(): number {
    return this.out * this.in * 4 * (this.#transposed ? 2 : 1)
  }

  /** W as `[out, in]`. Owned by this object: do not dispose. */
  natural(): tf.Tensor2D {
    return this.#natural
  }

  /** Wᵀ as `[in, out]`. Owned by this object: do not dispose. Made at the first call. */
  transposed(): tf.Tensor2D {
    this.#transposed ??= tf.keep(tf.tidy(() => tf.transpose(this.#natural)))
    return this.#transposed
  }

  /** The plain values as a new f32 `[out, in]` tensor, owned by the caller. */
  dequantise(): tf.Tensor2D {
    return this.#natural.clone()
  }

  dispose(): void {
    this.#natural.dispose()
    this.#transposed?.dispose()
    this.#transposed = null
  }
}
