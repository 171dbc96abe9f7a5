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
  logits: tf.Tensor2D
  /** Labels with the ignored ones replaced by 0. */
  safe: tf.Tensor1D
  /** 1 for rows that count, 0 for ignored ones. */
  counts: tf.Tensor1D
}

function chunkOf(hidden: tf.Tensor2D, head: FrozenMatrix, labels: tf.Tensor1D, from: number, rows: number): Chunk {
  const h = tf.slice(hidden, [from, 0], [rows, hidden.shape[1]])
  const own = tf.slice(labels, [from], [rows])
  return {
    logits: tf.matMul(h, head.transposed()),
    safe: tf.maximum(own, tf.scalar(0, 'int32')),
    counts: tf.cast(tf.greaterEqual(own, tf.scalar(0, 'int32')), 'float32'),
  }
}

/** −log softmax at the label, 0 for ignored rows; the likeliest token's probability is 1/Σexp(logit − max). */
function chunkLoss({ logits, safe, counts }: Chunk, softmax: tf.Tensor2D): tf.Tensor1D {
  const [rows, vocabulary] = logits.shape
  const flat = tf.add(tf.mul(tf.range(0, rows, 1, 'int32'), tf.scalar(vocabulary, 'int32')), safe) as tf.Tensor1D
  const at = tf.gather(tf.reshape(logits, [rows * vocabulary]), flat)
  const loss = tf.sub(tf.sub(tf.max(logits, 1), at), tf.log(tf.max(softmax, 1)))
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
): { loss: tf.Tensor1D; correct: tf.Tensor1D } {
  return tf.tidy(() => {
    const parts = overChunks(hidden.shape[0], head.out, (from, count) =>
      tf.tidy(() => {
        const chunk = chunkOf(hidden, head, labels, from, count)
        const hit = tf.cast(tf.equal(tf.argMax(chunk.logits, 1), chunk.safe), 'float32')
        return [chunkLoss(chunk, tf.softmax(chunk.logits)), tf.mul(hit, chunk.counts) as tf.Tensor1D] as const
      }),
    )
    return { loss: tf.concat1d(parts.map(([loss]) => loss)), correct: tf.concat1d(parts.map(([, hit]) => hit)) }
  })
}

/**
 * Per token: loss (natural log; 0 where ignored) and whether the likeliest token is the label (1 or 0).
 * hidden `[n, d]`, head `[vocab, d]`, int32 labels `[n]` → two `[n]`. No gradient: see {@link crossEntropyWithGrad}.
 */
export function crossEntropy(
  hidden: tf.Tensor2D,
  head: FrozenMatrix,
  labels: tf.Tensor1D,
): { loss: tf.Tensor1D; correct: tf.Tensor1D } {
  return crossEntropyReference(hidden, head, labels)
}

/** The plain TensorFlow.js form of {@link crossEntropyWithGrad}. */
export function crossEntropyWithGradReference(
  hidden: tf.Tensor2D,
  head: FrozenMatrix,
  labels: tf.Tensor1D,
  scale: number | tf.Scalar,
): { loss: tf.Tensor1D; dHidden: tf.Tensor2D } {
  return tf.tidy(() => {
    const parts = overChunks(hidden.shape[0], head.out, (from, count) =>
      tf.tidy(() => {
        const chunk = chunkOf(hidden, head, labels, from, count)
        // (softmax − onehot)·W without the one-hot: softmax·W less the label's own row
        const softmax = tf.softmax(chunk.logits)
        const pulled = tf.matMul(softmax, head.natural())
        const own = tf.gather(head.natural(), chunk.safe)
        const weight = tf.reshape(tf.mul(chunk.counts, scale), [count, 1])
        return [chunkLoss(chunk, softmax), tf.mul(tf.sub(pulled, own), weight) as tf.Tensor2D] as const
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
): { loss: tf.Tensor1D; dHidden: tf.Tensor2D } {
  return crossEntropyWithGradReference(hidden, head, labels, scale)
}
