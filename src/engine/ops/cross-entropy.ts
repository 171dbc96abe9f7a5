/**
 * Cross-entropy of next tokens straight from hidden states, chunk by chunk over rows.
 * Refuses to hold logits of more than one chunk; labels come already shifted, negative ones are ignored.
 */
import { tf } from '../tf'
import type { FrozenMatrix } from './frozen-matrix'
import { gemm, kLast, weights } from './gemm'
import { dispatch, emptyTensor, onGPU, spread, type Binding } from './gpu'
import { outerSum } from './linear'
import { rowMain, rowThreads, SAFE_TANH } from './reduce'
import { store } from './store'
import { scatterRows } from './trained'

/** Logits that may exist at once (16 MiB in f32); a test makes it smaller. */
export const chunk = { elements: 2 ** 22 }

function rowsPerChunk(vocabulary: number): number {
  return Math.max(1, Math.floor(chunk.elements / vocabulary))
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
  /** Share of each label that is spread over the whole vocabulary. */
  smoothing?: number
  /** Factor of each row's gradient `[n]`; 1 where left out. */
  rowWeights?: tf.Tensor1D | null
}

/** Loss `[n]`, and the gradients of what it is scaled to: of the hidden states `[n, d]`, and of the head `[vocab, d]` where it is trained. */
export type HeadGradients = { loss: tf.Tensor1D; dHidden: tf.Tensor2D; dHead: tf.Tensor2D | undefined }

function chunkOf({ hidden, head, labels, softcap }: Rows, from: number, rows: number): Chunk {
  const raw = head.forward(tf.slice(hidden, [from, 0], [rows, hidden.shape[1]]))
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

/** (softmax − ε/V − (1−ε)·onehot)·slope·W without the one-hot, which is the label's own row; ε is the smoothing. */
function chunkGradient(
  { safe, slope }: Chunk,
  softmax: tf.Tensor2D,
  head: FrozenMatrix,
  smoothing: number,
): tf.Tensor2D {
  const sharp = tf.mul(head.rows(safe), 1 - smoothing) as tf.Tensor2D
  const spread = smoothing > 0 ? (tf.sub(softmax, smoothing / head.out) as tf.Tensor2D) : softmax
  if (!slope) return tf.sub(head.backward(spread), sharp)
  const weighted = tf.mul(sharp, tf.reshape(pick(slope, safe), [-1, 1]))
  return tf.sub(head.backward(tf.mul(spread, slope) as tf.Tensor2D), weighted)
}

/**
 * −log softmax at the label, mixed with its mean over the vocabulary where labels are smoothed; 0 for ignored rows. The likeliest
 * token's probability is 1/Σexp(logit − max).
 */
function chunkLoss({ logits, safe, counts }: Chunk, softmax: tf.Tensor2D, smoothing: number): tf.Tensor1D {
  const own = pick(logits, safe)
  const wanted = smoothing > 0 ? tf.add(tf.mul(own, 1 - smoothing), tf.mul(tf.mean(logits, 1), smoothing)) : own
  const loss = tf.sub(tf.sub(tf.max(logits, 1), wanted), tf.log(tf.max(softmax, 1)))
  return tf.mul(loss, counts) as tf.Tensor1D
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
        const part = chunkOf({ hidden, head, labels, softcap }, from, count)
        const hit = tf.cast(tf.equal(tf.argMax(part.logits, 1), part.safe), 'float32')
        return [chunkLoss(part, tf.softmax(part.logits), 0), tf.mul(hit, part.counts) as tf.Tensor1D] as const
      }),
    )
    return { loss: tf.concat1d(parts.map(([loss]) => loss)), correct: tf.concat1d(parts.map(([, hit]) => hit)) }
  })
}

/** Scores of `count` rows from row `from` on; the caller disposes them. */
function scoresOf({ hidden, head }: Rows, from: number, count: number): tf.Tensor2D {
  return gemm({ a: kLast(hidden), b: weights(head, 'k-last'), rows: { count, readFrom: from } })
}

/** One workgroup a row: its largest score, its sum of exponentials, its loss. */
function rowProgram(
  rows: Rows,
  scores: tf.Tensor2D,
  from: number,
  loss: tf.Tensor1D,
  extra: { correct: tf.Tensor1D } | { scale: number | tf.Scalar },
): void {
  const gradient = 'scale' in extra
  const scale = gradient ? extra.scale : 1
  const { smoothing = 0 } = rows
  const bindings: Record<string, Binding> = {
    scores: { tensor: scores, type: 'f32', write: gradient },
    labels: { tensor: rows.labels, type: 'i32' },
    loss: { tensor: loss, type: 'f32', write: true },
  }
  if (!gradient) bindings.correct = { tensor: extra.correct, type: 'f32', write: true }
  if (typeof scale !== 'number') bindings.scale = { tensor: scale, type: 'f32' }
  dispatch({
    key: `cross-entropy row ${gradient ? 'gradient' : 'loss'} ${rows.softcap === undefined ? '' : 'softcap'} ${smoothing > 0 ? 'smooth' : ''}`,
    bindings,
    uniforms: {
      rows: scores.shape[0],
      vocabulary: scores.shape[1],
      first: from,
      factor: typeof scale === 'number' ? scale : 1,
      softcap: rows.softcap ?? 0,
      sharp: 1 - smoothing,
      spread: smoothing / scores.shape[1],
    },
    floats: ['factor', 'softcap', 'sharp', 'spread'],
    workgroups: spread(scores.shape[0]),
    code: () => rowWGSL(gradient, rows.softcap !== undefined, 'scale' in bindings, smoothing > 0),
  })
}

function rowWGSL(gradient: boolean, softcap: boolean, scaleOnDevice: boolean, smooth: boolean): string {
  const bent = softcap ? 'u.softcap * safe_tanh(raw / u.softcap)' : 'raw'
  const slope = softcap ? ' * (1.0 - (z / u.softcap) * (z / u.softcap))' : ''
  const factor = `u.factor${scaleOnDevice ? ' * scale[0]' : ''}`
  const finish = gradient
    ? `let inverse = select(0.0, ${factor}, label >= 0);
    for (var v = tid; v < u.vocabulary; v += ${rowThreads()}u) {
      let z = score(base + v);
      let p = exp(z - best.top) / best.sum;
      scores[base + v] = (p - select(0.0, ${smooth ? 'u.sharp' : '1.0'}, i32(v) == label)${smooth ? ' - u.spread' : ''}) * inverse${slope};
    }`
    : 'if (tid == 0u) { correct[at] = select(0.0, 1.0, label >= 0 && u32(label) == best.index); }'
  return `${SAFE_TANH}
struct Best { top: f32, sum: f32, index: u32${smooth ? ', total: f32' : ''} }
var<workgroup> partial: array<Best, ${rowThreads()}>;
fn score(i: u32) -> f32 { let raw = scores[i]; return ${bent}; }
fn join(a: Best, b: Best) -> Best {
  let top = max(a.top, b.top);
  let index = select(select(b.index, a.index, a.top > b.top), min(a.index, b.index), a.top == b.top);
  return Best(top, a.sum * exp(a.top - top) + b.sum * exp(b.top - top), index${smooth ? ', a.total + b.total' : ''});
}
${rowMain(`
    let base = row * u.vocabulary;
    let at = u.first + row;
    let label = labels[at];
    var own = Best(-3.0e38, 0.0, 0xffffffffu${smooth ? ', 0.0' : ''});
    for (var v = tid; v < u.vocabulary; v += ${rowThreads()}u) { let z = score(base + v); own = join(own, Best(z, 1.0, v${smooth ? ', z' : ''})); }
    partial[tid] = own;
    workgroupBarrier();
    for (var span = ${rowThreads() / 2}u; span > 0u; span /= 2u) {
      if (tid < span) { partial[tid] = join(partial[tid], partial[tid + span]); }
      workgroupBarrier();
    }
    let best = partial[0];
    if (tid == 0u) {
      let z = ${smooth ? 'u.spread * best.total + u.sharp * ' : ''}score(base + u32(max(label, 0)));
      loss[at] = select(0.0, best.top + log(best.sum) - z, label >= 0);
    }
    ${gradient ? 'workgroupBarrier(); storageBarrier();' : ''}
    ${finish}`)}`
}

function lossProgram(rows: Rows): { loss: tf.Tensor1D; correct: tf.Tensor1D } {
  const n = rows.hidden.shape[0]
  const [loss, correct] = [emptyTensor<tf.Rank.R1>([n]), emptyTensor<tf.Rank.R1>([n])]
  overChunks(n, rows.head.out, (from, count) => {
    const scores = scoresOf(rows, from, count)
    rowProgram(rows, scores, from, loss, { correct })
    scores.dispose()
  })
  return { loss, correct }
}

/** Rows of the hidden states, by their weights where they have any: the factor of the head's gradient. */
function weighted({ hidden, rowWeights }: Rows, from: number, count: number): tf.Tensor2D {
  const rows = tf.slice(hidden, [from, 0], [count, hidden.shape[1]])
  return rowWeights ? tf.mul(rows, tf.reshape(tf.slice(rowWeights, from, count), [count, 1])) : rows
}

/** Adds the gradients of the head chunk by chunk; the first is taken over. */
function addHead(sum: tf.Tensor2D | undefined, part: tf.Tensor2D): tf.Tensor2D {
  if (!sum) return part
  store(sum, part, { add: true })
  part.dispose()
  return sum
}

/** Scores of a chunk become their own gradient in place, which is then pulled through the head. */
function gradientProgram(rows: Rows, scale: number | tf.Scalar): HeadGradients {
  const [n, d] = rows.hidden.shape
  const [loss, dHidden] = [emptyTensor<tf.Rank.R1>([n]), emptyTensor<tf.Rank.R2>([n, d])]
  let dHead: tf.Tensor2D | undefined
  overChunks(n, rows.head.out, (from, count) => {
    const scores = scoresOf(rows, from, count)
    rowProgram(rows, scores, from, loss, { scale })
    gemm({ a: kLast(scores), b: weights(rows.head, 'k-first'), rows: { count, into: dHidden, writeFrom: from } })
    if (rows.head.trained) {
      const part = weighted(rows, from, count)
      dHead = addHead(dHead, outerSum(scores, part))
      part.dispose()
    }
    scores.dispose()
  })
  return { loss, dHidden: byRows(dHidden, rows), dHead }
}

/** The hidden states' gradient by the rows' weights. */
function byRows(dHidden: tf.Tensor2D, { rowWeights }: Rows): tf.Tensor2D {
  return rowWeights ? tf.mul(dHidden, tf.reshape(rowWeights, [-1, 1])) : dHidden
}

/** The head's gradient from one chunk: (softmax − ε/V − (1−ε)·onehot)·slope, weighted, by the hidden states; the one-hot by its rows. */
function chunkHead(rows: Rows, chunk: Chunk, softmax: tf.Tensor2D, weight: tf.Tensor2D, from: number): tf.Tensor2D {
  const { safe, slope } = chunk
  const { smoothing = 0, head } = rows
  const hidden = tf.mul(weighted(rows, from, safe.shape[0]), weight) as tf.Tensor2D
  const spread = smoothing > 0 ? tf.sub(softmax, smoothing / head.out) : softmax
  const own = tf.mul(hidden, slope ? tf.mul(tf.reshape(pick(slope, safe), [-1, 1]), 1 - smoothing) : 1 - smoothing)
  const bent = (slope ? tf.mul(spread, slope) : spread) as tf.Tensor2D
  return tf.sub(outerSum(bent, hidden), scatterRows(safe, own as tf.Tensor2D, head.out))
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
  return onGPU() ? lossProgram({ hidden, head, labels, softcap }) : crossEntropyReference(hidden, head, labels, softcap)
}

/** The plain TensorFlow.js form of {@link crossEntropyWithGrad}. */
export function crossEntropyWithGradReference(
  hidden: tf.Tensor2D,
  head: FrozenMatrix,
  labels: tf.Tensor1D,
  scale: number | tf.Scalar,
  softcap?: number,
  smoothing = 0,
  rowWeights: tf.Tensor1D | null = null,
): HeadGradients {
  return tf.tidy(() => {
    const rows: Rows = { hidden, head, labels, softcap, smoothing, rowWeights }
    let dHead: tf.Tensor2D | undefined
    const parts = overChunks(hidden.shape[0], head.out, (from, count) => {
      const [loss, d, own] = tf.tidy(() => {
        const part = chunkOf(rows, from, count)
        const softmax = tf.softmax(part.logits)
        const weight = tf.reshape(tf.mul(part.counts, scale), [count, 1]) as tf.Tensor2D
        return [
          chunkLoss(part, softmax, smoothing),
          tf.mul(chunkGradient(part, softmax, head, smoothing), weight) as tf.Tensor2D,
          head.trained ? chunkHead(rows, part, softmax, weight, from) : undefined,
        ] as const
      })
      if (own) dHead = addHead(dHead, own)
      return [loss, d] as const
    })
    const dHidden = tf.concat2d(
      parts.map(([, d]) => d),
      0,
    )
    return { loss: tf.concat1d(parts.map(([loss]) => loss)), dHidden: byRows(dHidden, rows), dHead }
  })
}

/**
 * Per-token loss `[n]` and the gradients of scale · sum(loss), or of scale · sum(rowWeights · loss), in one pass over the chunks: with
 * respect to `hidden`, and to the head where it is trained. `scale` may be a scalar on the device, so that a recorded step can be
 * replayed. `smoothing` is torch's label_smoothing.
 */
export function crossEntropyWithGrad(
  hidden: tf.Tensor2D,
  head: FrozenMatrix,
  labels: tf.Tensor1D,
  scale: number | tf.Scalar,
  softcap?: number,
  smoothing = 0,
  rowWeights: tf.Tensor1D | null = null,
): HeadGradients {
  if (onGPU()) return gradientProgram({ hidden, head, labels, softcap, smoothing, rowWeights }, scale)
  return crossEntropyWithGradReference(hidden, head, labels, scale, softcap, smoothing, rowWeights)
}
