/**
 * A tile of attention on webgpu: how large it is, which part each thread keeps, and the WGSL that loads, multiplies and stores it.
 * Refuses to know what is computed of it: that is attention-program.ts.
 */
import type { tf } from '../tf'
import type { AttentionOptions } from './attention-reach'
import { gpuDevice, isSoftware, processorWidth, widest } from './gpu'
import { range } from './reduce'

/**
 * Threads of a workgroup in each direction; each keeps tile/side rows and tile/side columns of the scores. A processor computes few side
 * by side and pays dearly for barriers between more.
 */
export function side(): number {
  if (!isSoftware() || attentionTile.override) return 8
  return processorWidth() / 2
}

/** Sizes of the work: batch, t queries, s keys, h heads over kv groups, d channels of a head. */
export interface Shape {
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

/** The sizes of `q` `[batch, t, h, d]` over `k` `[batch, s, kv, d]`. */
export function shapeOf(q: tf.Tensor4D, k: tf.Tensor4D, options: AttentionOptions): Shape {
  const [batch, t, h, d] = q.shape
  const [, s, kv] = k.shape
  return { batch, t, s, h, kv, d, d4: Math.ceil(d / 4), wide: widest(d), options }
}

/** The tile that is used instead of the chosen one (8, 16 or 32), with the threads of a GPU; for tests. */
export const attentionTile: { override: number | null } = { override: null }

/** The largest tile whose `matrices` [tile, d] and `squares` [tile, tile] fit into workgroup memory. */
export function chooseTile({ d4 }: Shape, matrices: number, squares: number): number {
  const limit = gpuDevice().limits.maxComputeWorkgroupStorageSize
  const bytes = (tile: number): number => matrices * tile * d4 * 16 + squares * tile * tile * 4 + 4 * tile * 4
  if (attentionTile.override) return attentionTile.override
  if (isSoftware()) return 8 // short programs: compilers for a CPU take seconds over long ones
  return [32, 16].find((tile) => bytes(tile) <= limit) ?? 8
}

/** `load_x(b, i, head, c)`: four channels of position i, zeros outside. */
export function loader(name: string, length: string, heads: string, { wide }: Shape): string {
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
export function writer(name: string, length: string, heads: string, { wide }: Shape): string {
  const write =
    wide === 'f32'
      ? range(4).map((l) => `if (c * 4u + ${l}u < u.d) { ${name}[at + ${l}u] = value.${'xyzw'[l]}; }`).join(' ') // prettier-ignore
      : `${name}[at / 4u] = value;`
  return `fn store_${name}(b: u32, i: u32, head: u32, c: u32, value: vec4<f32>) {
  if (i < ${length}) { let at = ((b * ${length} + i) * ${heads} + head) * u.d + c * 4u; ${write} }
}`
}

/** The entry point around a body; `lx` and `ly` say which rows and columns are this thread's. */
export function mainWGSL(body: string): string {
  return `@compute @workgroup_size(${side() ** 2})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let lx = tid % ${side()}u;
  let ly = tid / ${side()}u;
${body}
}`
}

/** A matrix `[tile, d]` in workgroup memory. */
export function matrix(name: string, tile: number, { d4 }: Shape): string {
  return `var<workgroup> ${name}: array<vec4<f32>, ${tile * d4}>;`
}

/** Fills a shared matrix with `tile` positions from `first` on. */
export function fill(into: string, from: string, first: string, head: string, tile: number, { d4 }: Shape): string {
  return `for (var i = tid; i < ${tile * d4}u; i += ${side() ** 2}u) {
    ${into}[i] = load_${from}(b, ${first} + i / ${d4}u, ${head}, i % ${d4}u);
  }`
}

/** Declares `name{r}_{c}` = rows of `left` times rows of `right`, for this thread's part of the square. */
export function products(name: string, left: string, right: string, tile: number, { d4 }: Shape): string {
  const own = range(tile / side())
  const declare = own.flatMap((r) => own.map((c) => `var ${name}${r}_${c} = 0.0;`))
  const rows = own.map((r) => `let l${r} = ${left}[(ly + ${side() * r}u) * ${d4}u + e];`)
  const columns = own.map((c) => `let r${c} = ${right}[(lx + ${side() * c}u) * ${d4}u + e];`)
  const sums = own.flatMap((r) => own.map((c) => `${name}${r}_${c} += dot(l${r}, r${c});`))
  return `${declare.join(' ')}
    for (var e = 0u; e < ${d4}u; e++) { ${rows.join(' ')} ${columns.join(' ')} ${sums.join(' ')} }`
}

/** Accumulators of this thread: its rows, every eighth group of four channels. */
export function accumulators(
  name: string,
  tile: number,
  { d4 }: Shape,
): { name: string; row: string; column: string }[] {
  return range(tile / side()).flatMap((r) =>
    range(Math.ceil(d4 / side())).map((c) => ({
      name: `${name}${r}_${c}`,
      row: `ly + ${side() * r}u`,
      column: `lx + ${side() * c}u`,
    })),
  )
}

/** acc[row] += Σ over k of square(row, k) · right[k]; channels beyond the last read a clamped place and are not stored. */
export function accumulate(
  name: string,
  weight: (row: string) => string,
  right: string,
  tile: number,
  shape: Shape,
): string {
  const sums = accumulators(name, tile, shape).map(
    ({ name, row, column }) =>
      `${name} += ${weight(row)} * ${right}[k * ${shape.d4}u + min(${column}, ${shape.d4 - 1}u)];`,
  )
  return `for (var k = 0u; k < ${tile}u; k++) { ${sums.join(' ')} }`
}

/** Declares this thread's accumulators at zero. */
export function declare(name: string, tile: number, shape: Shape): string {
  return accumulators(name, tile, shape)
    .map(({ name }) => `var ${name} = vec4<f32>(0.0);`)
    .join(' ')
}

/** Code for each row of a tile, with `row` in scope. */
export function eachRow(tile: number, code: string): string {
  return `for (var row = tid; row < ${tile}u; row += ${side() ** 2}u) { ${code} }`
}
