/**
 * Attention on webgpu without a T×T tensor: tiles of keys pass through workgroup memory under an online softmax
 * (Dao et al. 2022; backward as in FlashAttention 2). Refuses to keep probabilities: backward computes them again from
 * each query's log-sum-exp.
 */
import type { tf } from '../tf'
import type { AttentionOptions } from './attention-reach'
import {
  dispatch,
  emptyTensor,
  gpuDevice,
  isSoftware,
  processorWidth,
  spread,
  widest,
  type Binding,
  type Program,
} from './gpu'
import { elementMain, SAFE_TANH } from './reduce'

/**
 * Threads of a workgroup in each direction; each keeps tile/side rows and tile/side columns of the scores. A processor computes few side
 * by side and pays dearly for barriers between more.
 */
function side(): number {
  if (!isSoftware() || attentionTile.override) return 8
  return processorWidth() / 2
}

interface Shape {
  batch: number
  t: number
  s: number
  h: number
  kv: number
  d: number
  /** Channels of a head, in fours. */
  d4: number
  wide: 'vec4<f32>' | 'f32'
  options: AttentionOptions
}

function shapeOf(q: tf.Tensor4D, k: tf.Tensor4D, options: AttentionOptions): Shape {
  const [batch, t, h, d] = q.shape
  const [, s, kv] = k.shape
  return { batch, t, s, h, kv, d, d4: Math.ceil(d / 4), wide: widest(d), options }
}

/** The tile that is used instead of the chosen one (8, 16 or 32), with the threads of a GPU; for tests. */
export const attentionTile: { override: number | null } = { override: null }

/** The largest tile whose `matrices` [tile, d] and `squares` [tile, tile] fit into workgroup memory. */
function chooseTile({ d4 }: Shape, matrices: number, squares: number): number {
  const limit = gpuDevice().limits.maxComputeWorkgroupStorageSize
  const bytes = (tile: number): number => matrices * tile * d4 * 16 + squares * tile * tile * 4 + 4 * tile * 4
  if (attentionTile.override) return attentionTile.override
  if (isSoftware()) return 8 // short programs: compilers for a CPU take seconds over long ones
  return [32, 16].find((tile) => bytes(tile) <= limit) ?? 8
}

function uniformsOf({ t, s, h, kv, d, options }: Shape): Pick<Program, 'uniforms' | 'floats'> {
  const { window, scale, softcap } = options
  const past = options.here ? 0 : options.past // what changes must not be in uniforms
  const uniforms = { t, s, h, kv, d, past, window: window ?? 0x7fffffff, scale, softcap: softcap ?? 1 }
  return { uniforms, floats: ['scale', 'softcap'] }
}

/** The bindings that only packed rows and recorded decoding have, and what tells their programs apart. */
function startsOf({ starts, here }: AttentionOptions): { bindings: Record<string, Binding>; key: string } {
  if (starts) return { bindings: { starts: { tensor: starts.device, type: 'i32' } }, key: ' packed' }
  if (here) return { bindings: { here: { tensor: here, type: 'i32' } }, key: ' here' }
  return { bindings: {}, key: '' }
}

/** `[b, t, h, d]` result and `[b, t, h]` log-sum-exp of each query's scores. */
export function attentionForward(
  q: tf.Tensor4D,
  k: tf.Tensor4D,
  v: tf.Tensor4D,
  options: AttentionOptions,
): { y: tf.Tensor4D; lse: tf.Tensor3D } {
  const shape = shapeOf(q, k, options)
  const { batch, t, h, wide } = shape
  const tile = chooseTile(shape, 2, 1)
  const y = emptyTensor<tf.Rank.R4>(q.shape)
  const lse = emptyTensor<tf.Rank.R3>([batch, t, h])
  const starts = startsOf(options)
  dispatch({
    ...uniformsOf(shape),
    key: `attention forward ${tile} ${side()} ${shape.d4} ${options.softcap === undefined}${starts.key}`,
    bindings: {
      y: { tensor: y, type: wide, write: true },
      lse: { tensor: lse, type: 'f32', write: true },
      q: { tensor: q, type: wide },
      k: { tensor: k, type: wide },
      v: { tensor: v, type: wide },
      ...starts.bindings,
    },
    workgroups: [Math.ceil(t / tile), batch * h, 1],
    code: () => forwardWGSL(shape, tile),
  })
  return { y, lse }
}

/** Gradients of q, k and v. */
export function attentionBackward(
  inputs: { q: tf.Tensor4D; k: tf.Tensor4D; v: tf.Tensor4D; y: tf.Tensor4D; lse: tf.Tensor3D; dy: tf.Tensor4D },
  options: AttentionOptions,
): [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D] {
  const { q, k, v, y, lse, dy } = inputs
  const shape = shapeOf(q, k, options)
  const { batch, t, s, h, kv, wide } = shape
  const delta = rowProducts(dy, y, shape)
  const [dq, dk, dv] = [q, k, v].map((tensor) => emptyTensor<tf.Rank.R4>(tensor.shape)) as [
    tf.Tensor4D,
    tf.Tensor4D,
    tf.Tensor4D,
  ]
  const starts = startsOf(options)
  const shared: Record<string, Binding> = {
    q: { tensor: q, type: wide },
    k: { tensor: k, type: wide },
    v: { tensor: v, type: wide },
    dy: { tensor: dy, type: wide },
    lse: { tensor: lse, type: 'f32' },
    delta: { tensor: delta, type: 'f32' },
    ...starts.bindings,
  }
  const key = (name: string, tile: number): string =>
    `attention ${name} ${tile} ${side()} ${shape.d4} ${options.softcap === undefined}${starts.key}`
  const queryTile = chooseTile(shape, 4, 1)
  dispatch({
    ...uniformsOf(shape),
    key: key('dq', queryTile),
    bindings: { dq: { tensor: dq, type: wide, write: true }, ...shared },
    workgroups: [Math.ceil(t / queryTile), batch * h, 1],
    code: () => queryGradientWGSL(shape, queryTile),
  })
  const keyTile = chooseTile(shape, 4, 2)
  dispatch({
    ...uniformsOf(shape),
    key: key('dkv', keyTile),
    bindings: { dk: { tensor: dk, type: wide, write: true }, dv: { tensor: dv, type: wide, write: true }, ...shared },
    workgroups: [Math.ceil(s / keyTile), batch * kv, 1],
    code: () => keyGradientWGSL(shape, keyTile),
  })
  return [dq, dk, dv]
}

/** `[b, t, h]`: the inner product of dy and y a head, which equals the sum over keys of p · dp. */
function rowProducts(dy: tf.Tensor4D, y: tf.Tensor4D, { batch, t, h, d }: Shape): tf.Tensor3D {
  const delta = emptyTensor<tf.Rank.R3>([batch, t, h])
  const size = batch * t * h
  dispatch({
    key: 'attention delta',
    bindings: {
      delta: { tensor: delta, type: 'f32', write: true },
      dy: { tensor: dy, type: 'f32' },
      y: { tensor: y, type: 'f32' },
    },
    uniforms: { size, d },
    workgroups: spread(Math.ceil(size / 64)),
    code: () =>
      elementMain(`var sum = 0.0;
    for (var c = 0u; c < u.d; c++) { sum += dy[i * u.d + c] * y[i * u.d + c]; }
    delta[i] = sum;`),
  })
  return delta
}

const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

/** `load_x(b, i, head, c)`: four channels of position i, zeros outside. */
function loader(name: string, length: string, heads: string, { wide }: Shape): string {
  const base = `((b * ${length} + i) * ${heads} + head) * u.d + c * 4u`
  const read =
    wide === 'f32'
      ? range(4).map((l) => `if (c * 4u + ${l}u < u.d) { x.${'xyzw'[l]} = ${name}[at + ${l}u]; }`).join(' ') // prettier-ignore
      : `x = ${name}[at / 4u];`
  return `fn load_${name}(b: u32, i: u32, head: u32, c: u32) -> vec4<f32> {
  var x = vec4<f32>(0.0);
  if (i < ${length}) { let at = ${base}; ${read} }
  return x;
}`
}

/** Writes four channels `value` of position i where it exists. */
function writer(name: string, length: string, heads: string, { wide }: Shape): string {
  const write =
    wide === 'f32'
      ? range(4).map((l) => `if (c * 4u + ${l}u < u.d) { ${name}[at + ${l}u] = value.${'xyzw'[l]}; }`).join(' ') // prettier-ignore
      : `${name}[at / 4u] = value;`
  return `fn store_${name}(b: u32, i: u32, head: u32, c: u32, value: vec4<f32>) {
  if (i < ${length}) { let at = ((b * ${length} + i) * ${heads} + head) * u.d + c * 4u; ${write} }
}`
}

/** The softcap, and which keys a query sees; without branches, for unrolled code full of them takes some compilers minutes. */
function scoreWGSL({ options }: Shape): string {
  const bent = options.softcap === undefined ? 'raw' : 'u.softcap * safe_tanh(raw / u.softcap)'
  const slope = options.softcap === undefined ? '1.0' : '1.0 - (z / u.softcap) * (z / u.softcap)'
  return `${SAFE_TANH}
fn bend(raw: f32) -> f32 { return ${bent}; }
fn slope(z: f32) -> f32 { return ${slope}; }
${options.starts ? 'fn begins(b: u32, query: u32) -> u32 { return u32(starts[b * u.t + min(query, u.t - 1u)]); }' : ''}
fn past() -> u32 { return ${options.here ? 'u32(here[0])' : 'u.past'}; }
fn sees(b: u32, query: u32, key: u32) -> bool {
  let position = past() + query;
  return (query < u.t) & (key <= position) & (position - key < u.window)${options.starts ? ' & (key >= begins(b, query))' : ''};
}
const NEVER = -3.0e38;`
}

function mainWGSL(body: string): string {
  return `@compute @workgroup_size(${side() ** 2})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let lx = tid % ${side()}u;
  let ly = tid / ${side()}u;
${body}
}`
}

function matrix(name: string, tile: number, { d4 }: Shape): string {
  return `var<workgroup> ${name}: array<vec4<f32>, ${tile * d4}>;`
}

/** Fills a shared matrix with `tile` positions from `first` on. */
function fill(into: string, from: string, first: string, head: string, tile: number, { d4 }: Shape): string {
  return `for (var i = tid; i < ${tile * d4}u; i += ${side() ** 2}u) {
    ${into}[i] = load_${from}(b, ${first} + i / ${d4}u, ${head}, i % ${d4}u);
  }`
}

/** Declares `name{r}_{c}` = rows of `left` times rows of `right`, for this thread's part of the square. */
function products(name: string, left: string, right: string, tile: number, { d4 }: Shape): string {
  const own = range(tile / side())
  const declare = own.flatMap((r) => own.map((c) => `var ${name}${r}_${c} = 0.0;`))
  const rows = own.map((r) => `let l${r} = ${left}[(ly + ${side() * r}u) * ${d4}u + e];`)
  const columns = own.map((c) => `let r${c} = ${right}[(lx + ${side() * c}u) * ${d4}u + e];`)
  const sums = own.flatMap((r) => own.map((c) => `${name}${r}_${c} += dot(l${r}, r${c});`))
  return `${declare.join(' ')}
    for (var e = 0u; e < ${d4}u; e++) { ${rows.join(' ')} ${columns.join(' ')} ${sums.join(' ')} }`
}

/** Accumulators of this thread: its rows, every eighth group of four channels. */
function accumulators(name: string, tile: number, { d4 }: Shape): { name: string; row: string; column: string }[] {
  return range(tile / side()).flatMap((r) =>
    range(Math.ceil(d4 / side())).map((c) => ({
      name: `${name}${r}_${c}`,
      row: `ly + ${side() * r}u`,
      column: `lx + ${side() * c}u`,
    })),
  )
}

/** acc[row] += Σ over k of square(row, k) · right[k]; channels beyond the last read a clamped place and are not stored. */
function accumulate(name: string, weight: (row: string) => string, right: string, tile: number, shape: Shape): string {
  const sums = accumulators(name, tile, shape).map(
    ({ name, row, column }) =>
      `${name} += ${weight(row)} * ${right}[k * ${shape.d4}u + min(${column}, ${shape.d4 - 1}u)];`,
  )
  return `for (var k = 0u; k < ${tile}u; k++) { ${sums.join(' ')} }`
}

function declare(name: string, tile: number, shape: Shape): string {
  return accumulators(name, tile, shape)
    .map(({ name }) => `var ${name} = vec4<f32>(0.0);`)
    .join(' ')
}

/** First and last (exclusive) key tile that queries q0 … q0 + tile − 1 see; of the tile's queries the first sees farthest back. */
function keyRange(tile: number, { options }: Shape): string {
  const first = 'select(0u, reach - min(u.window, reach), u.window < reach)'
  return `let end = min(past() + q0 + ${tile}u, past() + u.t);
  let reach = past() + q0 + 1u;
  let begin = ${options.starts ? `max(${first}, begins(b, q0))` : first} / ${tile}u * ${tile}u;`
}

/** Code for each row of a tile, with `row` in scope. */
function eachRow(tile: number, code: string): string {
  return `for (var row = tid; row < ${tile}u; row += ${side() ** 2}u) { ${code} }`
}

function forwardWGSL(shape: Shape, tile: number): string {
  const own = range(tile / side())
  const write = own.flatMap((r) =>
    own.map(
      (c) => `{ let row = ly + ${side() * r}u; let column = lx + ${side() * c}u;
      square[row * ${tile}u + column] = select(NEVER, bend(z${r}_${c} * u.scale), sees(b, q0 + row, k0 + column)); }`,
    ),
  )
  const all = accumulators('o', tile, shape)
  return `${['q', 'k', 'v'].map((name) => loader(name, name === 'q' ? 'u.t' : 'u.s', name === 'q' ? 'u.h' : 'u.kv', shape)).join('\n')}
${writer('y', 'u.t', 'u.h', shape)}
${scoreWGSL(shape)}
${matrix('queries', tile, shape)} ${matrix('staged', tile, shape)}
var<workgroup> square: array<f32, ${tile * tile}>;
var<workgroup> tops: array<f32, ${tile}>;
var<workgroup> sums: array<f32, ${tile}>;
var<workgroup> shrink: array<f32, ${tile}>;
${mainWGSL(`  let q0 = wid.x * ${tile}u;
  let b = wid.y / u.h;
  let head = wid.y % u.h;
  let group = head / (u.h / u.kv);
  ${keyRange(tile, shape)}
  ${declare('o', tile, shape)}
  ${eachRow(tile, 'tops[row] = NEVER; sums[row] = 0.0;')}
  ${fill('queries', 'q', 'q0', 'head', tile, shape)}
  for (var k0 = begin; k0 < end; k0 += ${tile}u) {
    ${fill('staged', 'k', 'k0', 'group', tile, shape)}
    workgroupBarrier();
    ${products('z', 'queries', 'staged', tile, shape)}
    ${write.join('\n    ')}
    workgroupBarrier();
    ${fill('staged', 'v', 'k0', 'group', tile, shape)}
    ${eachRow(
      tile,
      `
      var top = tops[row];
      for (var k = 0u; k < ${tile}u; k++) { top = max(top, square[row * ${tile}u + k]); }
      var sum = 0.0;
      for (var k = 0u; k < ${tile}u; k++) {
        let z = square[row * ${tile}u + k];
        let p = select(0.0, exp(z - top), z > 0.5 * NEVER);
        square[row * ${tile}u + k] = p;
        sum += p;
      }
      shrink[row] = exp(tops[row] - top);
      sums[row] = sums[row] * shrink[row] + sum;
      tops[row] = top;`,
    )}
    workgroupBarrier();
    ${all.map(({ name, row }) => `${name} *= shrink[${row}];`).join(' ')}
    ${accumulate('o', (row) => `square[(${row}) * ${tile}u + k]`, 'staged', tile, shape)}
    workgroupBarrier();
  }
  ${all.map(({ name, row, column }) => `if (${column} < ${shape.d4}u) { store_y(b, q0 + ${row}, head, ${column}, ${name} / sums[${row}]); }`).join('\n  ')}
  ${eachRow(tile, 'if (q0 + row < u.t) { lse[(b * u.t + q0 + row) * u.h + head] = tops[row] + log(sums[row]); }')}`)}`
}

function backwardHead(shape: Shape, tile: number): string {
  const queries = ['q', 'dy'].map((name) => loader(name, 'u.t', 'u.h', shape))
  const keys = ['k', 'v'].map((name) => loader(name, 'u.s', 'u.kv', shape))
  const matrices = ['queries', 'slopes', 'keys', 'values'].map((name) => matrix(name, tile, shape))
  return [...queries, ...keys, scoreWGSL(shape), ...matrices].join('\n')
}

/** Probability `p` and gradient `ds` of the raw score, for this thread's part of the square of queries q0 and keys k0. */
function squareGradient(tile: number, write: string): string {
  const own = range(tile / side())
  return own
    .flatMap((r) =>
      own.map(
        (c) => `{ let row = ly + ${side() * r}u; let column = lx + ${side() * c}u;
      let at = (b * u.t + min(q0 + row, u.t - 1u)) * u.h + head;
      let z = bend(z${r}_${c} * u.scale);
      let p = select(0.0, exp(z - lse[at]), sees(b, q0 + row, k0 + column));
      let ds = p * (g${r}_${c} - delta[at]) * slope(z) * u.scale;
      ${write} }`,
      ),
    )
    .join('\n    ')
}

function queryGradientWGSL(shape: Shape, tile: number): string {
  return `${backwardHead(shape, tile)}
${writer('dq', 'u.t', 'u.h', shape)}
var<workgroup> square: array<f32, ${tile * tile}>;
${mainWGSL(`  let q0 = wid.x * ${tile}u;
  let b = wid.y / u.h;
  let head = wid.y % u.h;
  let group = head / (u.h / u.kv);
  ${keyRange(tile, shape)}
  ${declare('o', tile, shape)}
  ${fill('queries', 'q', 'q0', 'head', tile, shape)}
  ${fill('slopes', 'dy', 'q0', 'head', tile, shape)}
  for (var k0 = begin; k0 < end; k0 += ${tile}u) {
    ${fill('keys', 'k', 'k0', 'group', tile, shape)}
    ${fill('values', 'v', 'k0', 'group', tile, shape)}
    workgroupBarrier();
    ${products('z', 'queries', 'keys', tile, shape)}
    ${products('g', 'slopes', 'values', tile, shape)}
    ${squareGradient(tile, `square[row * ${tile}u + column] = ds;`)}
    workgroupBarrier();
    ${accumulate('o', (row) => `square[(${row}) * ${tile}u + k]`, 'keys', tile, shape)}
    workgroupBarrier();
  }
  ${accumulators('o', tile, shape)
    .map(
      ({ name, row, column }) =>
        `if (${column} < ${shape.d4}u) { store_dq(b, q0 + ${row}, head, ${column}, ${name}); }`,
    )
    .join('\n  ')}`)}`
}

function keyGradientWGSL(shape: Shape, tile: number): string {
  // Queries of later examples see nothing of this tile. The same for all threads, so that barriers stay in step.
  const past = shape.options.starts ? `if (begins(b, q0) >= k0 + ${tile}u) { break; }` : ''
  const stores = ['dk', 'dv'].flatMap((out) =>
    accumulators(out === 'dk' ? 'e' : 'o', tile, shape).map(
      ({ name, row, column }) =>
        `if (${column} < ${shape.d4}u) { store_${out}(b, k0 + ${row}, group, ${column}, ${name}); }`,
    ),
  )
  return `${backwardHead(shape, tile)}
${writer('dk', 'u.s', 'u.kv', shape)}
${writer('dv', 'u.s', 'u.kv', shape)}
var<workgroup> square: array<f32, ${tile * tile}>;
var<workgroup> chances: array<f32, ${tile * tile}>;
${mainWGSL(`  let k0 = wid.x * ${tile}u;
  let b = wid.y / u.kv;
  let group = wid.y % u.kv;
  let heads = u.h / u.kv;
  // queries at positions k0 … k0 + tile − 1 + window − 1 see some key of this tile
  let begin = select(0u, k0 - min(u.past, k0), k0 > u.past) / ${tile}u * ${tile}u;
  let reach = k0 + ${tile}u - 1u + min(u.window, u.past + u.t);
  let end = min(u.t, reach - min(reach, u.past));
  ${declare('e', tile, shape)} ${declare('o', tile, shape)}
  ${fill('keys', 'k', 'k0', 'group', tile, shape)}
  ${fill('values', 'v', 'k0', 'group', tile, shape)}
  for (var head = group * heads; head < (group + 1u) * heads; head++) {
    for (var q0 = begin; q0 < end; q0 += ${tile}u) {
      ${past}
      ${fill('queries', 'q', 'q0', 'head', tile, shape)}
      ${fill('slopes', 'dy', 'q0', 'head', tile, shape)}
      workgroupBarrier();
      ${products('z', 'queries', 'keys', tile, shape)}
      ${products('g', 'slopes', 'values', tile, shape)}
      ${squareGradient(tile, `square[row * ${tile}u + column] = ds; chances[row * ${tile}u + column] = p;`)}
      workgroupBarrier();
      ${accumulate('e', (row) => `square[k * ${tile}u + ${row}]`, 'queries', tile, shape)}
      ${accumulate('o', (row) => `chances[k * ${tile}u + ${row}]`, 'slopes', tile, shape)}
      workgroupBarrier();
    }
  }
  ${stores.join('\n  ')}`)}`
}
