/**
 * The WGSL of a product: register tiles, staged through workgroup memory on a GPU and read directly on a software device. Refuses to
 * choose: the tile and what is folded in are given.
 */
import { halvesWGSL, roundWGSL, spoilWGSL, type Arithmetic } from './arithmetic'
import { dropoutWGSL, type DropoutKey } from './dropout'
import type { Packed } from './frozen-matrix'
import type { Tile } from './gemm-candidates'
import type { Binding } from './gpu'
import { packedHeader, unpackWGSL } from './packing'
import { range } from './reduce'

/** How a factor is stored: `k-last` as `[m, k]` (or `[n, k]`), `k-first` as `[k, m]` (or `[k, n]`). */
export type Layout = 'k-last' | 'k-first'

/** A factor as its program sees it. */
export interface ProgramFactor {
  /** Its binding. */
  name: string
  layout: Layout
  packed?: Packed | null
}

/** What is dropped: elements of factor A, of factor B, or of the low-rank product before it is added. */
export type Masked = { key: DropoutKey; on: 'a' | 'b' | 'low' } | null

/** Which depths a loop sums, in WGSL; `from` must be a whole number of its steps. */
interface Depths {
  from: string
  to: string
}

/** Function reading four neighbours of row r from column c on, zeros outside. */
function loader(
  name: string,
  type: string,
  rows: string,
  columns: string,
  drops: boolean,
  round: string,
  scale: string,
  packed?: Packed | null,
): string {
  const row = name === 'a' && rows === 'u.m' ? '(r + u.a_from)' : 'r'
  const at = type === 'f32' ? `${row} * ${columns} + c` : `(${row} * ${columns} + c) / 4u`
  const read =
    type === 'f32'
      ? ['x', 'y', 'z', 'w']
          .map((part, i) => `if (c + ${i}u < ${columns}) { v.${part} = ${name}[at + ${i}u]; }`)
          .join(' ')
      : packed
        ? unpackWGSL(name, packed.precision, packed.group)
        : `v = ${name}[at];`
  const mask = `${drops ? `v *= drop_four(r * ${columns} + c);` : ''} ${scale && `v *= ${scale};`} ${round}`
  return `fn load_${name}(r: u32, c: u32) -> vec4<f32> {
  var v = vec4<f32>(0.0);
  if (r < ${rows} && c < ${columns}) { let at = ${at}; ${read} ${mask} }
  return v;
}`
}

/**
 * A function `load_NAME(row, column)` for each factor, and what they need.
 * @param round WGSL for every vec4 `v` that is read.
 * @param lowScale WGSL of a factor on la; none where it is empty.
 */
export function loadersWGSL(
  bindings: Record<string, Binding>,
  factors: readonly ProgramFactor[],
  dropout: Masked,
  round: string,
  lowScale = '',
): string {
  const parts = dropout ? [dropoutWGSL(dropout.key)] : []
  for (const { name, layout, packed } of factors) {
    if (packed) parts.push(packedHeader(packed.precision))
    const [outer, inner] = [name.endsWith('a') ? 'u.m' : 'u.n', name.startsWith('l') ? 'u.lk' : 'u.k']
    const [rows, columns] = layout === 'k-last' ? [outer, inner] : [inner, outer]
    const scale = name === 'la' ? lowScale : ''
    parts.push(loader(name, bindings[name]!.type, rows, columns, dropout?.on === name, round, scale, packed))
  }
  return parts.join('\n')
}

/**
 * WGSL with `bindings` by the names y, a, b, la, lb, bias, plus, scale, to be dispatched over the tiles of C in x and y and the slices of k in z,
 * `u.slice` deep each; y holds the sums of one slice after the other.
 */
export function gemmWGSL(
  tile: Tile,
  bindings: Record<string, Binding>,
  factors: readonly ProgramFactor[],
  dropout: Masked,
  arithmetic: Arithmetic,
): string {
  const { tm, tn, wy, wx, bk } = tile
  const half = arithmetic === 'f16'
  const parts = [half ? halvesWGSL(bk > 0) : '', loadersWGSL(bindings, factors, dropout, half ? roundWGSL(bk > 0) : '')]
  const four = half ? 'vec4<f16>' : 'vec4<f32>'
  if (bk) parts.push(`var<workgroup> left: array<${four}, ${(bk * tm * wy) / 4}>;\nvar<workgroup> right: array<${four}, ${(bk * tn * wx) / 4}>;`) // prettier-ignore
  const layoutOf = (name: string): Layout => factors.find((factor) => factor.name === name)!.layout
  const run = (a: string, b: string, depths: Depths): string =>
    bk
      ? stagedLoop(tile, four, a, b, layoutOf(a), layoutOf(b), depths)
      : directLoop(tile, a, b, layoutOf(a), layoutOf(b), depths)
  const main = run('a', 'b', { from: 'wid.z * u.slice', to: 'min(u.k, (wid.z + 1u) * u.slice)' })
  const accumulators = range(tm).flatMap((i) => range(tn / 4).map((j) => `c${i}_${j}`))
  const scale = `u.factor${bindings.scale ? ' * scale[0]' : ''}`
  const scaled = `{ let s = ${scale}; ${accumulators.map((c) => `${c} *= s;`).join(' ')} }`
  const masked = dropout?.on === 'low' ? eachFour(tile, (c) => `${c} *= drop_four(row * u.n + column);`) : ''
  const body = bindings.la ? [run('la', 'lb', { from: '0u', to: 'u.lk' }), scaled, masked, main] : [main, scaled]
  return `${parts.join('\n')}
@compute @workgroup_size(${wx}, ${wy})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_id) lid: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let row0 = wid.y * ${tm * wy}u;
  let column0 = wid.x * ${tn * wx}u;
  ${dropout ? 'drop_start();' : ''}
  ${accumulators.map((c) => `var ${c} = vec4<f32>(0.0);`).join(' ')}
  ${body.join('\n')}
  ${half ? spoilWGSL(accumulators) : ''}
  let first = u.y_from + wid.z * u.m;
  ${eachFour(tile, (c) => store(c, bindings))}
}`
}

/** Row of C that belongs to register row i of this thread, and first column of register column j. */
function rowOf({ wy }: Tile, i: number): string {
  return `row0 + ${Math.floor(i / 4) * wy * 4}u + lid.y * 4u + ${i % 4}u`
}

function columnOf({ wx }: Tile, j: number): string {
  return `column0 + ${j * wx * 4}u + lid.x * 4u`
}

/** Code for every four neighbours of C that this thread keeps, with `row` and `column` in scope. */
function eachFour(tile: Tile, code: (accumulator: string) => string): string {
  return range(tile.tm)
    .map((i) => {
      const inner = range(tile.tn / 4).map((j) => `{ let column = ${columnOf(tile, j)}; ${code(`c${i}_${j}`)} }`)
      return `{ let row = ${rowOf(tile, i)}; ${inner.join(' ')} }`
    })
    .join('\n  ')
}

function store(c: string, bindings: Record<string, Binding>): string {
  const wide = bindings.y!.type !== 'f32'
  const bias = bindings.bias
  if (wide) {
    const add = bias ? ` + vec4<f32>(bias[column], bias[column + 1u], bias[column + 2u], bias[column + 3u])` : ''
    const plus = bindings.plus ? ' + plus[(row * u.n + column) / 4u]' : ''
    return `if (row < u.m && column < u.n) { y[((row + first) * u.n + column) / 4u] = ${c}${add}${plus}; }`
  }
  return range(4)
    .map((l) => {
      const plus = bindings.plus ? ` + plus[row * u.n + column + ${l}u]` : ''
      const value = `${c}.${'xyzw'[l]}${bias ? ` + bias[column + ${l}u]` : ''}${plus}`
      return `if (row < u.m && column + ${l}u < u.n) { y[(row + first) * u.n + column + ${l}u] = ${value}; }`
    })
    .join(' ')
}

/** c += a_k ⊗ b_k for one depth, with the four-wide pieces a0… and b0… in scope. */
function outerProduct({ tm, tn }: Tile): string {
  return range(tm)
    .flatMap((i) => range(tn / 4).map((j) => `c${i}_${j} += a${Math.floor(i / 4)}.${'xyzw'[i % 4]} * b${j};`))
    .join(' ')
}

/** Blocks of 4 by 4 go through registers into workgroup memory, depth first, so that both reads of the inner loop are vec4. */
function stagedLoop(
  tile: Tile,
  four: string,
  a: string,
  b: string,
  aLayout: Layout,
  bLayout: Layout,
  depths: Depths,
): string {
  const { tm, tn, wy, wx, bk } = tile
  const stage = (name: string, into: string, layout: Layout, first: string, outer: number): string => {
    const [fours, deep] = [outer / 4, bk / 4]
    const pick =
      layout === 'k-last'
        ? `let kb = i % ${deep}u; let ob = i / ${deep}u;`
        : `let ob = i % ${fours}u; let kb = i / ${fours}u;`
    const load = (j: number): string =>
      layout === 'k-last'
        ? `load_${name}(${first} + ob * 4u + ${j}u, k0 + kb * 4u)`
        : `load_${name}(k0 + kb * 4u + ${j}u, ${first} + ob * 4u)`
    const block = `mat4x4<f32>(${range(4).map(load).join(', ')})`
    return `for (var i = tid; i < ${fours * deep}u; i += ${wx * wy}u) { ${pick}
      let block = ${layout === 'k-last' ? `transpose(${block})` : block};
      ${range(4).map((j) => `${into}[(kb * 4u + ${j}u) * ${fours}u + ob] = ${four}(block[${j}]);`).join(' ')} }` // prettier-ignore
  }
  const reads = [
    ...range(tm / 4).map((i) => `let a${i} = vec4<f32>(left[kk * ${(tm * wy) / 4}u + ${i * wy}u + lid.y]);`),
    ...range(tn / 4).map((j) => `let b${j} = vec4<f32>(right[kk * ${(tn * wx) / 4}u + ${j * wx}u + lid.x]);`),
  ]
  return `for (var k0 = ${depths.from}; k0 < ${depths.to}; k0 += ${bk}u) {
    ${stage(a, 'left', aLayout, 'row0', tm * wy)}
    ${stage(b, 'right', bLayout, 'column0', tn * wx)}
    workgroupBarrier();
    for (var kk = 0u; kk < ${bk}u; kk++) { ${reads.join(' ')} ${outerProduct(tile)} }
    workgroupBarrier();
  }`
}

/** No workgroup memory: each thread reads its own rows and columns, four depths at a time. */
function directLoop(tile: Tile, a: string, b: string, aLayout: Layout, bLayout: Layout, depths: Depths): string {
  const { tm, tn } = tile
  const open = `for (var k0 = ${depths.from}; k0 < ${depths.to}; k0 += 4u) {`
  if (aLayout === 'k-last' && bLayout === 'k-last') {
    const rows = range(tm).map((i) => `let a${i} = load_${a}(${rowOf(tile, i)}, k0);`)
    const columns = range(tn / 4).map((j) => {
      const loads = range(4).map((l) => `let b${l} = load_${b}(${columnOf(tile, j)} + ${l}u, k0);`)
      const sums = range(tm).map(
        (i) => `c${i}_${j} += vec4<f32>(${range(4).map((l) => `dot(a${i}, b${l})`).join(', ')});`, // prettier-ignore
      )
      return `{ ${loads.join(' ')} ${sums.join(' ')} }`
    })
    return `${open} ${rows.join(' ')}\n${columns.join('\n')} }`
  }
  const block = (name: string, layout: Layout, first: string): string =>
    layout === 'k-last'
      ? `transpose(mat4x4<f32>(${range(4).map((l) => `load_${name}(${first} + ${l}u, k0)`).join(', ')}))` // prettier-ignore
      : `mat4x4<f32>(${range(4).map((l) => `load_${name}(k0 + ${l}u, ${first})`).join(', ')})` // prettier-ignore
  const blocks = [
    ...range(tm / 4).map((i) => `let A${i} = ${block(a, aLayout, rowOf(tile, 4 * i))};`),
    ...range(tn / 4).map((j) => `let B${j} = ${block(b, bLayout, columnOf(tile, j))};`),
  ]
  const steps = range(4).map((l) => {
    const views = [
      ...range(tm / 4).map((i) => `let a${i} = A${i}[${l}];`),
      ...range(tn / 4).map((j) => `let b${j} = B${j}[${l}];`),
    ]
    return `{ ${views.join(' ')} ${outerProduct(tile)} }`
  })
  return `${open} ${blocks.join('\n')}\n${steps.join('\n')} }`
}
