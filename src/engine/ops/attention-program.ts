/** The WGSL of attention: its result, and its gradients by query and by key. Refuses to dispatch: see attention-gpu.ts. */
import {
  accumulate,
  accumulators,
  declare,
  eachRow,
  fill,
  loader,
  mainWGSL,
  matrix,
  products,
  side,
  writer,
  type Shape,
} from './attention-tile'
import { range, SAFE_TANH } from './reduce'

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

/**
 * Which queries a workgroup takes (q0 … q0 + tile − 1 of one head), the first and last (exclusive) key tile that they see, and what is
 * summed for each; of the tile's queries the first sees farthest back.
 */
function queriesOf(tile: number, shape: Shape): string {
  const first = 'select(0u, reach - min(u.window, reach), u.window < reach)'
  return `  let q0 = wid.x * ${tile}u;
  let b = wid.y / u.h;
  let head = wid.y % u.h;
  let group = head / (u.h / u.kv);
  let end = min(past() + q0 + ${tile}u, past() + u.t);
  let reach = past() + q0 + 1u;
  let begin = ${shape.options.starts ? `max(${first}, begins(b, q0))` : first} / ${tile}u * ${tile}u;
  ${declare('o', tile, shape)}`
}

/** `y` and `lse`: a workgroup takes a tile of queries through all keys that they see. */
export function forwardWGSL(shape: Shape, tile: number): string {
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
${mainWGSL(`${queriesOf(tile, shape)}
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

/** `dq`: a workgroup takes a tile of queries through all keys that they see. */
export function queryGradientWGSL(shape: Shape, tile: number): string {
  return `${backwardHead(shape, tile)}
${writer('dq', 'u.t', 'u.h', shape)}
var<workgroup> square: array<f32, ${tile * tile}>;
${mainWGSL(`${queriesOf(tile, shape)}
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

/** `dk` and `dv`: a workgroup takes a tile of keys through all queries that see them. */
export function keyGradientWGSL(shape: Shape, tile: number): string {
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
