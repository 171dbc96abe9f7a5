/**
 * Draws a token on the device from the scores of all, so that only its number is read back: the WGSL form of sampleToken in
 * ../sampling.ts. Refuses more than one sequence at a time, and randomness of its own: the caller brings a number.
 */
import type { tf } from '../tf'
import { dispatch } from './gpu'

export interface SampleInputs {
  /** f32 `[1, vocabulary]`; changed in place where repetition is punished. */
  readonly scores: tf.Tensor
  /** int32 `[vocabulary]`: not 0 for the tokens that were seen; the drawn one is added. */
  readonly seen: tf.Tensor
  /** A number of [0, 1). */
  readonly draw: tf.Scalar
  /** int32 `[1]`: becomes the drawn token. */
  readonly chosen: tf.Tensor
}

/** See `SamplingSettings` in ../sampling.ts. */
interface Settings {
  readonly temperature: number
  readonly topK: number
  readonly topP: number
  readonly repetitionPenalty: number
}

const THREADS = 256

/**
 * One workgroup looks through the vocabulary a few times. What is kept are the scores above a threshold and the first few that equal it:
 * the threshold is the largest score such that those from it on count k, or weigh p together, and is found three bits at a time.
 * Weights are f32 here and f64 on the host, so a draw that falls between two tokens to the last digits can go to the other one.
 */
export function sampleProgram({ scores, seen, draw, chosen }: SampleInputs, settings: Settings): void {
  const { temperature, topK, topP, repetitionPenalty } = settings
  const size = scores.size
  dispatch({
    key: 'sample',
    bindings: {
      chosen: { tensor: chosen, type: 'i32', write: true },
      scores: { tensor: scores, type: 'f32', write: true },
      seen: { tensor: seen, type: 'i32', write: true },
      draw: { tensor: draw, type: 'f32' },
    },
    uniforms: {
      ...{ size, span: Math.ceil(size / THREADS), temperature, penalty: repetitionPenalty, share: topP },
      most: topK > 0 && topK < size ? topK : 0,
    },
    floats: ['temperature', 'penalty', 'share'],
    workgroups: [1, 1, 1],
    code: () => CODE,
  })
}

const CODE = `const N = ${THREADS}u;
var<workgroup> low_sums: array<vec4<f32>, N>;
var<workgroup> high_sums: array<vec4<f32>, N>;
var<workgroup> places: array<u32, N>;
// numbers that sort as the scores do
fn order(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  return select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);
}
fn weight(x: f32, top: f32) -> f32 { return exp((x - top) / u.temperature); }
// how many tokens there are with an order from \`least\` on, or what they weigh
fn total_from(tid: u32, least: u32, top: f32, weigh: bool) -> f32 {
  var sum = 0.0;
  for (var i = tid; i < u.size; i += N) {
    let x = scores[i];
    sum += select(0.0, select(1.0, weight(x, top), weigh), order(x) >= least);
  }
  low_sums[tid] = vec4<f32>(sum);
  add_up(tid);
  let all = low_sums[0].x;
  workgroupBarrier();
  return all;
}
fn add_up(tid: u32) {
  workgroupBarrier();
  for (var span = N / 2u; span > 0u; span /= 2u) {
    if (tid < span) {
      low_sums[tid] += low_sums[tid + span];
      high_sums[tid] += high_sums[tid + span];
    }
    workgroupBarrier();
  }
}
// the largest order, at least \`least\`, such that the tokens from it on count or weigh \`wanted\`
fn threshold(tid: u32, least: u32, top: f32, weigh: bool, wanted: f32) -> u32 {
  var base = 0u;
  for (var shift = 30i; shift >= 0i; shift -= 3i) {
    var low = vec4<f32>();
    var high = vec4<f32>();
    for (var i = tid; i < u.size; i += N) {
      let x = scores[i];
      let place = order(x);
      if (place >= base && place >= least) {
        let step = vec4<u32>((place - base) >> u32(shift));
        let value = vec4<f32>(select(1.0, weight(x, top), weigh));
        low += select(vec4<f32>(), value, step >= vec4<u32>(1u, 2u, 3u, 4u));
        high += select(vec4<f32>(), value, step >= vec4<u32>(5u, 6u, 7u, 8u));
      }
    }
    low_sums[tid] = low;
    high_sums[tid] = high;
    add_up(tid);
    let enough = vec4<u32>(low_sums[0] >= vec4<f32>(wanted));
    let more = vec4<u32>(vec3<u32>(high_sums[0].xyz >= vec3<f32>(wanted)), 0u);
    let steps = dot(enough, vec4<u32>(1u)) + dot(more, vec4<u32>(1u));
    base += steps << u32(shift);
    workgroupBarrier();
  }
  return max(base, least);
}
// the token with the largest score, the first of equals
fn best(tid: u32) -> u32 {
  var at = min(tid, u.size - 1u);
  for (var i = tid; i < u.size; i += N) { if (scores[i] > scores[at]) { at = i; } }
  places[tid] = at;
  workgroupBarrier();
  for (var span = N / 2u; span > 0u; span /= 2u) {
    if (tid < span) {
      let other = places[tid + span];
      let mine = places[tid];
      if (scores[other] > scores[mine] || (scores[other] == scores[mine] && other < mine)) { places[tid] = other; }
    }
    workgroupBarrier();
  }
  let found = places[0];
  workgroupBarrier();
  return found;
}
@compute @workgroup_size(${THREADS})
fn main(@builtin(local_invocation_index) tid: u32) {
  if (u.penalty != 1.0) {
    for (var i = tid; i < u.size; i += N) {
      let x = scores[i];
      if (seen[i] != 0) { scores[i] = select(x * u.penalty, x / u.penalty, x > 0.0); }
    }
  }
  storageBarrier();
  let likeliest = best(tid);
  if (u.temperature <= 0.0) {
    if (tid == 0u) { take(likeliest); }
    return;
  }
  let top = scores[likeliest];
  var least = order(-3.4e38);
  var equals = 0xffffffffu;
  if (u.most > 0u) {
    least = threshold(tid, 0u, top, false, f32(u.most));
    equals = u.most - u32(total_from(tid, least + 1u, top, false));
  }
  if (u.share < 1.0) {
    var all = total_from(tid, select(0u, least + 1u, u.most > 0u), top, true);
    if (u.most > 0u) { all += f32(equals) * weight(score_of(least), top); }
    let wanted = max(u.share * all, 1e-30);
    let bound = threshold(tid, least, top, true, wanted);
    let above = total_from(tid, bound + 1u, top, true);
    let most = select(0xffffffffu, equals, bound == least);
    let needed = ceil((wanted - above) / weight(score_of(bound), top));
    least = bound;
    equals = clamp(u32(clamp(needed, 1.0, 1e9)), 1u, most);
  }
  pick(tid, least, equals, top);
}
fn score_of(place: u32) -> f32 { return bitcast<f32>(select(~place, place & 0x7fffffffu, place >= 0x80000000u)); }
// draws among the tokens above \`least\` and the first \`equals\` at it, in the order of their ids: each thread adds up a stretch
fn pick(tid: u32, least: u32, equals: u32, top: f32) {
  let begin = min(tid * u.span, u.size);
  let end = min(begin + u.span, u.size);
  var above = 0.0;
  var ties = 0u;
  for (var i = begin; i < end; i++) {
    let x = scores[i];
    let place = order(x);
    if (place > least) { above += weight(x, top); } else if (place == least) { ties++; }
  }
  low_sums[tid] = vec4<f32>(above);
  places[tid] = ties;
  workgroupBarrier();
  if (tid != 0u) { return; }
  let tied = weight(score_of(least), top);
  var all = 0.0;
  var room = equals;
  for (var t = 0u; t < N; t++) {
    let taken = min(room, places[t]);
    room -= taken;
    low_sums[t].x += f32(taken) * tied;
    all += low_sums[t].x;
  }
  var left = draw[0] * all;
  room = equals;
  var found = 0u;
  for (var t = 0u; t < N; t++) {
    if (left >= low_sums[t].x && t + 1u < N) {
      left -= low_sums[t].x;
      room -= min(room, places[t]);
      continue;
    }
    for (var i = t * u.span; i < min((t + 1u) * u.span, u.size); i++) {
      let place = order(scores[i]);
      if (place < least || (place == least && room == 0u)) { continue; }
      if (place == least) { room--; }
      found = i + 1u;
      left -= weight(scores[i], top);
      if (left < 0.0) { break; }
    }
    if (left < 0.0) { break; }
  }
  take(select(last_kept(least), found - 1u, found > 0u));
}
// where rounding left nothing: the last of the likeliest
fn last_kept(least: u32) -> u32 {
  for (var i = u.size; i > 0u; i--) { if (order(scores[i - 1u]) >= least) { return i - 1u; } }
  return 0u;
}
fn take(id: u32) {
  chosen[0] = i32(id);
  seen[id] = 1;
}`
