/**
 * Cross-entropy of next tokens straight from hidden states, chunk by chunk over rows.
 * Refuses to hold logits of more than one chunk; labels come already shifted, negative ones are ignored.
 */
import { tf } from '../tf'
import type { FrozenMatrix } from './frozen-matrix'

/** Logits that may exist at once (16 MiB in f32). */
const CHUNK_ELEMENTS = 2 ** 22

function rowsPerChunk(vocabulary: number): number {
  return Math.max(1, Math.floor(CHUNK_ELEMENTS / vocabulary))
}

interface Chunk {
  /** Bent already where there is a softcap. */
  logits: tf.Tensor2D
  /** Labels with the ignored ones replaced by 0. */
  safe: tf.Tensor1D
  /** 1 for rows that count, 0 for ignored ones. */
  counts: tf.Tensor1D
  /** Slope of the bent logits, where there is a softcap. */
  slope: tf.Tensor2D | null
}

interface Rows {
  hidden: tf.Tensor2D
  head: FrozenMatrix
  labels: tf.Tensor1D
  softcap: number | undefined
}

function chunkOf({ hidden, head, labels, softcap }: Rows, from: number, rows: number): Chunk {
  const raw = tf.matMul(tf.slice(hidden, [from, 0], [rows, hidden.shape[1]]), head.transposed()) as tf.Tensor2D
  const bent = softcap === undefined ? null : (tf.tanh(tf.div(raw, softcap)) as tf.Tensor2D)
  const own = tf.slice(labels, [from], [rows])
  return {
    logits: bent ? tf.mul(bent, softcap!) : raw,
    slope: bent ? tf.sub(1, tf.square(bent)) : null,
    safe: tf.maximum(own, tf.scalar(0, 'int32')),
    counts: tf.cast(tf.greaterEqual(own, tf.scalar(0, 'int32')), 'float32'),
  }
}

/** One element of each row. */
function pick(matrix: tf.Tensor2D, columns: tf.Tensor1D): tf.Tensor1D {
  const [rows, width] = matrix.shape
  const flat = tf.add(tf.mul(tf.range(0, rows, 1, 'int32'), tf.scalar(width, 'int32')), columns) as tf.Tensor1D
  return tf.gather(tf.reshape(matrix, [rows * width]), flat)
}

/** (softmax − onehot)·slope·W without the one-hot: softmax·slope·W less the label's own row. */
function chunkGradient({ safe, slope }: Chunk, softmax: tf.Tensor2D, head: FrozenMatrix): tf.Tensor2D {
  const own = tf.gather(head.natural(), safe)
  if (!slope) return tf.sub(tf.matMul(softmax, head.natural()), own)
  const weighted = tf.mul(own, tf.reshape(pick(slope, safe), [-1, 1]))
  return tf.sub(tf.matMul(tf.mul(softmax, slope) as tf.Tensor2D, head.natural()), weighted)
}

/** −log softmax at the label, 0 for ignored rows; the likeliest token's probability is 1/Σexp(logit − max). */
function chunkLoss({ logits, safe, counts }: Chunk, softmax: tf.Tensor2D): tf.Tensor1D {
  const loss = tf.sub(tf.sub(tf.max(logits, 1), pick(logits, safe)), tf.log(tf.max(softmax, 1)))
  return tf.mul(loss, counts)
}

function overChunks<T>(rows: number, vocabulary: number, run: (from: number, count: number) => T): T[] {
  const size = rowsPerChunk(vocabulary)
  const results: T[] = []
  for (let from = 0; from < rows; from += size) results.push(run(from, Math.min(size, rows - from)))
  return results
}

/** The plain TensorFlow.js form of {@link crossEntropy}. */
export function crossEntropyReference(
  hidden: tf.Tensor2D,
  head: FrozenMatrix,
  labels: tf.Tensor1D,
  softcap?: number,
): { loss: tf.Tensor1D; correct: tf.Tensor1D } {
  return tf.tidy(() => {
    const parts = overChunks(hidden.shape[0], head.out, (from, count) =>
      tf.tidy(() => {
        const chunk = chunkOf({ hidden, head, labels, softcap }, from, count)
        const hit = tf.cast(tf.equal(tf.argMax(chunk.logits, 1), chunk.safe), 'float32')
        return [chunkLoss(chunk, tf.softmax(chunk.logits)), tf.mul(hit, chunk.counts) as tf.Tensor1D] as const
      }),
    )
    return { loss: tf.concat1d(parts.map(([loss]) => loss)), correct: tf.concat1d(parts.map(([, hit]) => hit)) }
  })
}

/**
 * Per token: loss (natural log; 0 where ignored) and whether the likeliest token is the label (1 or 0).
 * hidden `[n, d]`, head `[vocab, d]`, int32 labels `[n]` → two `[n]`. With a softcap the logits are softcap · tanh(logit / softcap). No gradient: see {@link crossEntropyWithGrad}.
 */
export function crossEntropy(
  hidden: tf.Tensor2D,
  head: FrozenMatrix,
  labels: tf.Tensor1D,
  softcap?: number,
): { loss: tf.Tensor1D; correct: tf.Tensor1D } {
  return crossEntropyReference(hidden, head, labels, softcap)
}

/** The plain TensorFlow.js form of {@link crossEntropyWithGrad}. */
export function crossEntropyWithGradReference(
  hidden: tf.Tensor2D,
  head: FrozenMatrix,
  labels: tf.Tensor1D,
  scale: number | tf.Scalar,
  softcap?: number,
): { loss: tf.Tensor1D; dHidden: tf.Tensor2D } {
  return tf.tidy(() => {
    const parts = overChunks(hidden.shape[0], head.out, (from, count) =>
      tf.tidy(() => {
        const chunk = chunkOf({ hidden, head, labels, softcap }, from, count)
        const softmax = tf.softmax(chunk.logits)
        const weight = tf.reshape(tf.mul(chunk.counts, scale), [count, 1])
        return [chunkLoss(chunk, softmax), tf.mul(chunkGradient(chunk, softmax, head), weight) as tf.Tensor2D] as const
      }),
    )
    return {
      loss: tf.concat1d(parts.map(([loss]) => loss)),
      dHidden: tf.concat2d(
        parts.map(([, d]) => d),
        0,
      ),
    }
  })
}

/**
 * Per-token loss `[n]` and the gradient `[n, d]` of scale · sum(loss) with respect to `hidden`, in one pass over the chunks.
 * `scale` may be a scalar on the device, so that a recorded step can be replayed.
 */
export function crossEntropyWithGrad(
  hidden: tf.Tensor2D,
  head: FrozenMatrix,
  labels: tf.Tensor1D,
  scale: number | tf.Scalar,
  softcap?: number,
): { loss: tf.Tensor1D; dHidden: tf.Tensor2D } {
  return crossEntropyWithGradReference(hidden, head, labels, scale, softcap)
}
