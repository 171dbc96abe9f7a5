/**
 * AdamW with moments in 8 bits (Dettmers et al. 2022, arXiv:2110.02861), as bitsandbytes' block-wise optimiser computes it: blocks of
 * 256 share a scale, a moment is widened, moved in f32 and put back. Refuses to own state, and other block sizes.
 */
import { tf } from '../tf'
import { plain, readNumber, scalarBindings, CORRECTION, type AdamHyper } from './adamw'
import { nearest, SIGNED_MAP, UNSIGNED_MAP } from './dynamic-map'
import { dispatch, onGPU, spread, uploadNow } from './gpu'
import { heapTensor, hostNumber, views } from './heap'

/** Values that share a scale. */
const BLOCK = 256
/** Threads of a workgroup; each takes the four values of one word. */
const THREADS = BLOCK / 4

/** Both moments of a tensor, the gradient's mean first; what they stand for is zero where all of it is zero. */
export interface ByteMoments {
  /** Places in the dynamic maps, int32 `[2, words]`: four to a word, the first lowest, and each block begins a word. */
  readonly codes: tf.Variable
  /** Largest magnitude of each block, f32 `[2, blocks]`. */
  readonly scales: tf.Variable
}

/** Shapes of the {@link ByteMoments} of `count` values. */
export function momentShapes(count: number): { codes: [number, number]; scales: [number, number] } {
  return { codes: [2, Math.ceil(count / 4)], scales: [2, Math.ceil(count / BLOCK)] }
}

/** The signed and the unsigned dynamic numbers one after the other, `[512]`, where programs read them; the caller disposes it. */
export function momentMaps(): tf.Tensor1D {
  const maps = tf.keep(tf.tensor1d(Float32Array.of(...SIGNED_MAP, ...UNSIGNED_MAP)))
  if (onGPU()) uploadNow(maps)
  return maps
}

/**
 * One update of `param` and its moments: as {@link adamwUpdate}, the moments read from 8 bits and rounded to them afterwards.
 * @param maps see {@link momentMaps}.
 */
export function adamw8bitUpdate(
  param: tf.Variable,
  grad: tf.Tensor,
  moments: ByteMoments,
  maps: tf.Tensor1D,
  h: AdamHyper,
): void {
  if (onGPU()) program(param, grad, moments, maps, h)
  else inHeap(param, grad, moments, h)
}

/** Puts 8 bits for `values` and returns their scale; `kept` values keep their sign. */
function pack(values: Float32Array, map: Float32Array, keepSign: boolean, out: Uint8Array): number {
  let most = 0
  for (const value of values) most = Math.max(most, Math.abs(value))
  const inverse = Math.fround(1 / most)
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!
    let code = nearest(map, most === 0 ? 0 : Math.max(-1, Math.min(1, Math.fround(value * inverse))))
    // What would become zero or change sides becomes the nearest number on its own side.
    if (keepSign && map[code]! < 0 !== value < 0) code += value > 0 ? 1 : -1
    out[i] = code
  }
  return most
}

/** The wasm form, rounded to f32 wherever PyTorch rounds; the parameter gets new memory, as in {@link adamwUpdate}. */
function inHeap(param: tf.Variable, grad: tf.Tensor, { codes, scales }: ByteMoments, h: AdamHyper): void {
  const { fround } = Math
  const [rate, step, clip] = [hostNumber(h.learningRate), hostNumber(h.step), hostNumber(h.clip)]
  const next = heapTensor(param.shape as [number])
  const [p, g, words, most, out] = views(param, grad, codes, scales, next) as [
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
  ]
  const bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength)
  const [half, blocks] = [bytes.length / 2, most.length / 2]
  const [first, second] = [new Float32Array(BLOCK), new Float32Array(BLOCK)]
  const [kept1, rest1] = [fround(h.beta1), fround(1 - h.beta1)]
  const [kept2, rest2] = [fround(h.beta2), fround(1 - h.beta2)]
  const root = Math.sqrt(1 - h.beta2 ** step)
  const [shrink, pace] = [fround(1 - rate * h.weightDecay), fround((rate * root) / (1 - h.beta1 ** step))]
  const epsilon = fround(root * h.epsilon)
  for (let block = 0; block < blocks; block++) {
    const from = block * BLOCK
    const count = Math.min(BLOCK, p.length - from)
    const [scale1, scale2] = [most[block]!, most[blocks + block]!]
    for (let k = 0; k < count; k++) {
      const slope = fround(g[from + k]! * clip)
      const m = fround(SIGNED_MAP[bytes[from + k]!]! * scale1)
      const v = fround(UNSIGNED_MAP[bytes[half + from + k]!]! * scale2)
      const a = (first[k] = fround(fround(m * kept1) + fround(rest1 * slope)))
      const b = (second[k] = fround(fround(v * kept2) + fround(fround(rest2 * slope) * slope)))
      const move = fround(fround(pace * a) / fround(fround(Math.sqrt(b)) + epsilon))
      out[from + k] = fround(p[from + k]! * shrink) - move
    }
    most[block] = pack(first.subarray(0, count), SIGNED_MAP, true, bytes.subarray(from, from + count))
    const others = bytes.subarray(half + from, half + from + count)
    most[blocks + block] = pack(second.subarray(0, count), UNSIGNED_MAP, false, others)
  }
  param.assign(next)
  next.dispose()
}

/** The webgpu form: a workgroup a block, everything overwritten in its own buffer. Eight storage buffers, which every device has. */
function program(
  param: tf.Variable,
  grad: tf.Tensor,
  { codes, scales }: ByteMoments,
  maps: tf.Tensor1D,
  h: AdamHyper,
): void {
  const blocks = scales.size / 2
  const changing = { rate: h.learningRate, step: h.step, clip: h.clip }
  const read = readNumber(changing)
  dispatch({
    key: 'adamw 8 bits',
    bindings: {
      p: { tensor: param, type: 'f32', write: true },
      codes: { tensor: codes, type: 'u32', write: true },
      scales: { tensor: scales, type: 'f32', write: true },
      g: { tensor: grad, type: 'f32' },
      maps: { tensor: maps, type: 'f32' },
      ...scalarBindings(changing),
    },
    uniforms: {
      ...{ size: param.size, words: codes.size / 2, blocks },
      ...{ rate: plain(h.learningRate), step: plain(h.step), clip: plain(h.clip) },
      ...{ beta1: h.beta1, beta2: h.beta2, rest1: 1 - h.beta1, rest2: 1 - h.beta2 },
      ...{ log1: Math.log(h.beta1), log2: Math.log(h.beta2), epsilon: h.epsilon, decay: h.weightDecay },
    },
    floats: ['rate', 'step', 'clip', 'beta1', 'beta2', 'rest1', 'rest2', 'log1', 'log2', 'epsilon', 'decay'],
    workgroups: spread(blocks),
    code: () => `${CORRECTION}
var<workgroup> map: array<f32, 512>;
var<workgroup> most: array<vec2<f32>, ${THREADS}>;
// the place of the nearest number among the 256 from \`at\` on; the lower one where two are equally near
fn nearest(value: f32, at: u32) -> u32 {
  var low = 0u;
  var high = 255u;
  while (high - low > 1u) {
    let middle = (low + high) / 2u;
    if (map[at + middle] <= value) { low = middle; } else { high = middle; }
  }
  return select(low, high, map[at + high] - value < value - map[at + low]);
}
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let block = wid.y * groups.x + wid.x;
  if (block >= u.blocks) { return; }
  for (var i = tid; i < 512u; i += ${THREADS}u) { map[i] = maps[i]; }
  workgroupBarrier();
  let word = block * ${THREADS}u + tid;
  let inside = word < u.words;
  let old = select(vec2<u32>(), vec2<u32>(codes[min(word, u.words - 1u)], codes[u.words + min(word, u.words - 1u)]), inside);
  let scale = vec2<f32>(scales[block], scales[u.blocks + block]);
  let rate = ${read('rate')};
  let root = sqrt(correction(u.log2 * ${read('step')}));
  let pace = rate * root / correction(u.log1 * ${read('step')});
  var next: array<vec2<f32>, 4>;
  var largest = vec2<f32>();
  for (var k = 0u; k < 4u; k++) {
    let i = word * 4u + k;
    if (i < u.size) {
      let code = (old >> vec2<u32>(8u * k)) & vec2<u32>(255u);
      let grad = g[i] * ${read('clip')};
      let moment = vec2<f32>(map[code.x], map[256u + code.y]) * scale * vec2<f32>(u.beta1, u.beta2) + vec2<f32>(u.rest1 * grad, u.rest2 * grad * grad);
      p[i] = p[i] * (1.0 - rate * u.decay) - pace * moment.x / (sqrt(moment.y) + root * u.epsilon);
      next[k] = moment;
      largest = max(largest, abs(moment));
    }
  }
  most[tid] = largest;
  workgroupBarrier();
  for (var span = ${THREADS / 2}u; span > 0u; span /= 2u) {
    if (tid < span) { most[tid] = max(most[tid], most[tid + span]); }
    workgroupBarrier();
  }
  largest = most[0];
  if (tid == 0u) {
    scales[block] = largest.x;
    scales[u.blocks + block] = largest.y;
  }
  if (!inside) { return; }
  let inverse = select(vec2<f32>(), 1.0 / largest, largest > vec2<f32>());
  var fresh = vec2<u32>();
  for (var k = 0u; k < 4u; k++) {
    let moment = next[k];
    let scaled = clamp(moment * inverse, vec2<f32>(-1.0), vec2<f32>(1.0));
    var code = nearest(scaled.x, 0u);
    // what would become zero or change sides becomes the nearest number on its own side
    if ((map[code] < 0.0) != (moment.x < 0.0)) { code = select(code - 1u, code + 1u, moment.x > 0.0); }
    fresh |= vec2<u32>(code, nearest(scaled.y, 256u)) << vec2<u32>(8u * k);
  }
  codes[word] = fresh.x;
  codes[u.words + word] = fresh.y;
}`,
  })
}
