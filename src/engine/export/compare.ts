/**
 * What was written against what should have been: tensor by tensor, and by what a model makes of them. Refuses a difference that rounding
 * does not explain.
 */
import { CodedError } from '../../shared/errors'
import type { TensorData } from '../../shared/records'
import type { Weights } from '../formats/checkpoint-index'
import type { LoraDelta } from '../formats/peft'
import { toFloat32 } from '../formats/safetensors'

/** What reading an export back found. */
export interface Verification {
  tensors: number
  /** Largest |written - wanted| of any value; rounding of the type included. */
  largestDifference: number
  /** The same in one sentence. */
  text: string
}

/** The error for a file that does not hold what it should. */
export function differs(where: string): CodedError {
  return new CodedError('export.verify', 'What was written does not read back as it is.', {
    where,
    fix: 'Do not use the files; export them again. If it happens again, report it.',
  })
}

/** "3.1e-8", or "0". */
export function differenceText(value: number): string {
  return value === 0 ? '0' : value.toExponential(1)
}

/** Whether two tensors are the same to the last bit. */
function sameTensor(a: TensorData, b: TensorData | undefined): boolean {
  if (!b || a.dtype !== b.dtype || a.shape.join() !== b.shape.join()) return false
  return a.bytes.byteLength === b.bytes.byteLength && a.bytes.every((byte, at) => byte === b.bytes[at])
}

/** Compares named tensors bit by bit. @throws CodedError `export.verify` */
export function compareTensors(
  wanted: Readonly<Record<string, TensorData>>,
  written: Readonly<Record<string, TensorData>>,
): Verification {
  const names = Object.keys(wanted)
  const wrong = names.find((name) => !sameTensor(wanted[name] as TensorData, written[name]))
  const added = Object.keys(written).find((name) => !(name in wanted))
  if (wrong !== undefined || added !== undefined || names.length === 0) throw differs(wrong ?? added ?? 'no tensors')
  const text = `Read back and compared: all ${names.length} tensors are the same to the last bit; largest difference 0.`
  return { tensors: names.length, largestDifference: 0, text }
}

/** How far a type may be off, relative to the value. */
const ROUNDING: Readonly<Record<string, number>> = { F32: 0, F16: 2 ** -11, BF16: 2 ** -8 }

/**
 * Compares every tensor by value; a half-precision file may differ by its own rounding and no more.
 * @throws CodedError `export.verify`
 */
export async function compareWeights(wanted: Weights, written: Weights): Promise<Verification> {
  let largest = 0
  for (const name of written.names) {
    const tensor = await written.read(name)
    const wantedName = wanted.names.includes(name) ? name : wanted.names.find((other) => other.endsWith(name))
    // A tied head that stands alone is written under the embedding's name.
    const source = wantedName ?? (name === 'model.embed_tokens.weight' ? 'lm_head.weight' : undefined)
    if (source === undefined || !wanted.names.includes(source)) throw differs(name)
    const [a, b] = [toFloat32(await wanted.read(source)), toFloat32(tensor)]
    if (a.length !== b.length) throw differs(name)
    const step = ROUNDING[tensor.dtype] ?? 0
    for (let i = 0; i < a.length; i++) {
      const difference = Math.abs((a[i] as number) - (b[i] as number))
      if (!(difference <= step * Math.abs(a[i] as number) + (step > 0 ? 6e-8 : 0))) throw differs(name)
      if (difference > largest) largest = difference
    }
  }
  const missing = wanted.names.length - written.names.length
  // The head of a tied pair is written once.
  if (missing > (wanted.names.includes('lm_head.weight') ? 1 : 0)) throw differs(`${missing} tensors missing`)
  const text = `Read back and compared with base + adapter: ${written.names.length} tensors; largest difference ${differenceText(largest)}.`
  return { tensors: written.names.length, largestDifference: largest, text }
}

/** Rows of a layer's product that are compared. */
const ROWS = 16

/**
 * Compares what each layer's product adds, for formats that keep ranks and scales in another way.
 * @throws CodedError `export.verify`
 */
export function compareDeltas(wanted: readonly LoraDelta[], written: readonly LoraDelta[]): Verification {
  let largest = 0
  for (const delta of wanted) {
    const other = written.find(({ module }) => module === delta.module)
    if (!other) throw differs(delta.module)
    const rows = Math.min(ROWS, delta.b.shape[0] as number)
    const [a, b] = [productRows(delta, rows), productRows(other, rows)]
    for (const [i, value] of a.entries()) largest = Math.max(largest, Math.abs(value - (b[i] as number)))
  }
  if (wanted.length !== written.length || !(largest < 1e-5)) throw differs(`a difference of ${largest}`)
  const text = `Read back and compared: ${wanted.length} layers; largest difference ${differenceText(largest)}.`
  return { tensors: 2 * wanted.length, largestDifference: largest, text }
}

/** The first rows of scale · B · A. */
function productRows(delta: LoraDelta, rows: number): Float64Array {
  const [a, b] = [toFloat32(delta.a), toFloat32(delta.b)]
  const [rank, inn] = delta.a.shape as [number, number]
  const result = new Float64Array(rows * inn)
  for (let row = 0; row < rows; row++) {
    for (let r = 0; r < rank; r++) {
      const factor = delta.scale * (b[row * rank + r] as number)
      for (let i = 0; i < inn; i++) (result[row * inn + i] as number) += factor * (a[r * inn + i] as number)
    }
  }
  return result
}
