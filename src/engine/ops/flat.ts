/**
 * Tensors side by side in few buffers, so that one program can go through many of them: every device grants few bindings. Refuses to be
 * computed with: whoever works on a part knows where it begins.
 */
import { tf } from '../tf'

/** Where the values of a tensor lie: `size` of them in `flat`, from element `at` on. */
export interface FlatPart {
  readonly flat: tf.Tensor
  readonly at: number
  readonly size: number
}

/** Values in one buffer; a larger tensor has one of its own. */
const MOST = 2 ** 22
/** Parts begin at multiples of this. */
const STEP = 4

/** A tensor as a part of itself. */
export const wholePart = (tensor: tf.Tensor): FlatPart => ({ flat: tensor, at: 0, size: tensor.size })

/** Zeros for tensors of these sizes, in their order; the caller disposes what {@link flatsOf} names. */
export function flatParts(sizes: readonly number[]): FlatPart[] {
  const places: { flat: number; at: number; size: number }[] = []
  const lengths: number[] = []
  for (const size of sizes) {
    const last = lengths.length - 1
    const fits = last >= 0 && lengths[last]! + size <= MOST
    const flat = fits ? last : lengths.push(0) - 1
    places.push({ flat, at: lengths[flat]!, size })
    lengths[flat]! += STEP * Math.ceil(size / STEP)
  }
  const flats = lengths.map((length) => tf.keep(tf.tidy(() => tf.fill([length], 0))))
  return places.map(({ flat, at, size }) => ({ flat: flats[flat]!, at, size }))
}

/** The buffers that parts lie in, each once. */
export function flatsOf(parts: readonly FlatPart[]): tf.Tensor[] {
  return [...new Set(parts.map(({ flat }) => flat))]
}

/** A part as a tensor of this shape, for ops that know nothing of parts; a copy where it shares its buffer. */
export function partTensor({ flat, at, size }: FlatPart, shape: readonly number[]): tf.Tensor {
  return tf.tidy(() =>
    tf.reshape(flat.size === size ? flat : tf.slice(tf.reshape(flat, [-1]), [at], [size]), [...shape]),
  )
}

/** The values of parts, in their order; forces a sync with the device. One after the other: each read keeps a copy on the device. */
export async function readParts(parts: readonly FlatPart[]): Promise<Float32Array[]> {
  const read: Float32Array[] = []
  for (const part of parts) {
    const tensor = partTensor(part, [part.size])
    read.push(((await tensor.data()) as Float32Array).slice())
    tensor.dispose()
  }
  return read
}
