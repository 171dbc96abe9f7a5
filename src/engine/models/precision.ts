/**
 * In which precision a model's matrices are kept, by the setting `quantization`. Refuses to touch vectors (norms, biases): they are
 * few and stay f32.
 */
import type { Job } from '../../shared/job'
import type { Precision } from '../ops'

export type Quantization = Job['quantization']

/** What a matrix is to the model: `table`s are embeddings, positions and heads. */
export type MatrixRole = 'linear' | 'table'

/**
 * `none` keeps the file's own type, which loses nothing. With `nf4` tables stay in 8 bits: QLoRA leaves them in 16, but in small
 * models they are most of the bytes.
 * @param dtype how the file stores it.
 */
export function precisionOf(quantization: Quantization, role: MatrixRole, dtype: string): Precision {
  if (quantization === 'none') return dtype === 'F16' ? 'f16' : dtype === 'BF16' ? 'bf16' : 'f32'
  return quantization === 'nf4' && role === 'table' ? 'int8' : quantization
}

/** Bytes that the wasm backend may spend on unquantised matrices in its fastest form, which takes four times their f32 size. */
const PLAIN_LIMIT = 2 ** 29

/** Whether the wasm backend keeps the matrices of an unquantised model plain, for speed, or packed beside its memory, unpacked product by product. */
export function isPlainOnWasm(quantization: Quantization, parameters: number): boolean {
  return quantization === 'none' && 16 * parameters <= PLAIN_LIMIT
}
