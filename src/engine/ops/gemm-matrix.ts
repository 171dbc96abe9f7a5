/**
 * The product on a GPU's matrix units (tensor cores), through WebGPU's experimental subgroup matrices. Refuses a mask on the low-rank
 * product, and to look for the units: matrix-units.ts does.
 */
import { halvesWGSL, roundWGSL, type MatrixUnits } from './arithmetic'
import type { Candidate, Tile } from './gemm-candidates'
import { loadersWGSL, type Layout, type Masked, type ProgramFactor } from './gemm-program'
import { isSoftware, type Binding } from './gpu'
import { range } from './reduce'

/** Depth that is staged at once. */
const DEPTH = 32
/** Rows and columns of C for a workgroup, at least and at most, and for one of its subgroups at most. */
const [LEAST, MOST, SIDE] = [16, 64, 32]

/** A processor that plays such units takes minutes to compile more than the least. */
const mostOfSubgroup = (): number => (isSoftware() ? LEAST : SIDE)

/** How products are cut up for them; its `fill` counts subgroups. Chosen from what suits threads: no graphics card was measured. */
export const MATRIX: Candidate = {
  name: 'matrix units',
  fill: 256,
  tile(m, n) {
    const few = Math.ceil(m / MOST) * Math.ceil(n / MOST) < 24
    const side = (size: number): number => (size <= LEAST ? LEAST : size <= SIDE || few ? SIDE : MOST)
    const [tm, tn] = [Math.min(mostOfSubgroup(), side(m)), Math.min(mostOfSubgroup(), side(n))]
    return { tm, tn, wy: side(m) / tm, wx: side(n) / tn, bk: DEPTH, matrix: true }
  },
}

/** The largest tile. */
export const largestTile = (): Tile => MATRIX.tile(4096, 4096)

/** Bytes of workgroup memory that the largest tile takes: two factors, and a matrix of results for each subgroup. */
export function matrixStorage({ component, m, n }: Pick<MatrixUnits, 'component' | 'm' | 'n'>): number {
  return (component === 'f16' ? 2 : 4) * 2 * DEPTH * MOST + 4 * (MOST / mostOfSubgroup()) ** 2 * m * n
}

/** Whether tiles can be made up of such matrices. */
export function tiles({ m, n, k }: Pick<MatrixUnits, 'm' | 'n' | 'k'>): boolean {
  return LEAST % m === 0 && LEAST % n === 0 && DEPTH % k === 0
}

/** WGSL extensions that the code needs. */
export function matrixExtensions({
  component,
}: MatrixUnits): ('f16' | 'subgroups' | 'chromium_experimental_subgroup_matrix')[] {
  return [...(component === 'f16' ? ['f16' as const] : []), 'subgroups', 'chromium_experimental_subgroup_matrix']
}

const resultType = ({ n, m }: MatrixUnits): string => `subgroup_matrix_result<f32, ${n}, ${m}>`

/** A factor's matrix from workgroup memory, depth by depth: the left one column by column, the right one row by row. */
function load(
  { component, m, n, k, order }: MatrixUnits,
  side: 'left' | 'right',
  from: string,
  at: string,
  stride: number,
): string {
  const type = `subgroup_matrix_${side}<${component}, ${side === 'left' ? `${k}, ${m}` : `${n}, ${k}`}>`
  return order === 'parameter'
    ? `subgroupMatrixLoad<${type}, ${side === 'left' ? 'col_major' : 'row_major'}>(&${from}, ${at}, ${stride}u)`
    : `subgroupMatrixLoad<${type}>(&${from}, ${at}, ${side === 'left'}, ${stride}u)`
}

function save({ order }: MatrixUnits, to: string, at: string, value: string, stride: number): string {
  return order === 'parameter'
    ? `subgroupMatrixStore<row_major>(&${to}, ${at}, ${value}, ${stride}u);`
    : `subgroupMatrixStore(&${to}, ${at}, ${value}, false, ${stride}u);`
}

/** A workgroup of a tile: its rows, columns and threads. */
function shapeOf({ tm, tn, wy, wx }: Tile, { lanes }: MatrixUnits) {
  return { rows: tm * wy, columns: tn * wx, threads: wy * wx * lanes, tm, tn }
}

/** WGSL as that of gemm-program.ts; y and plus are bound as f32. */
export function matrixWGSL(
  tile: Tile,
  units: MatrixUnits,
  bindings: Record<string, Binding>,
  factors: readonly ProgramFactor[],
  dropout: Masked,
): string {
  const { component, m, n, lanes } = units
  const shape = shapeOf(tile, units)
  const half = component === 'f16'
  const sums = range(tile.tm / m).flatMap((i) => range(tile.tn / n).map((j) => `c${i}_${j}`))
  const scale = `(u.factor${bindings.scale ? ' * scale[0]' : ''})`
  const layoutOf = (name: string): Layout => factors.find((factor) => factor.name === name)!.layout
  const run = (a: string, b: string, from: string, to: string): string =>
    loop(units, shape, [a, layoutOf(a)], [b, layoutOf(b)], { from, to })
  const main = run('a', 'b', 'wid.z * u.slice', 'min(u.k, (wid.z + 1u) * u.slice)')
  // The low-rank product is scaled on the way in: what the units hold cannot be multiplied everywhere.
  return `${half ? halvesWGSL(true) : ''}
${loadersWGSL(bindings, factors, dropout, half ? roundWGSL(true) : '', bindings.la ? scale : '')}
var<workgroup> left: array<${component}, ${DEPTH * shape.rows}>;
var<workgroup> right: array<${component}, ${DEPTH * shape.columns}>;
var<workgroup> results: array<f32, ${tile.wy * tile.wx * m * n}>;
// Where a subgroup's matrices lie is the same for its threads, which the compiler cannot know.
@diagnostic(off, chromium.subgroup_matrix_uniformity)
@compute @workgroup_size(${shape.threads})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let row0 = wid.y * ${shape.rows}u;
  let column0 = wid.x * ${shape.columns}u;
  let subgroup = tid / ${lanes}u;
  let own_row = subgroup / ${tile.wx}u * ${tile.tm}u;
  let own_column = subgroup % ${tile.wx}u * ${tile.tn}u;
  ${dropout ? 'drop_start();' : ''}
  ${sums.map((c) => `var ${c}: ${resultType(units)};`).join(' ')}
  ${bindings.la ? run('la', 'lb', '0u', 'u.lk') : ''}
  ${main}
  let beyond = ${half ? 'beyond_halves()' : '0.0'};
  let s = ${bindings.la ? '1.0' : scale};
  let first = u.y_from + wid.z * u.m;
  ${sums.map((c) => storeWGSL(c, units, bindings)).join('\n')}
}`
}

/** Stages both factors depth by depth and multiplies them matrix by matrix. */
function loop(
  units: MatrixUnits,
  { rows, columns, threads, tm, tn }: ReturnType<typeof shapeOf>,
  [a, aLayout]: readonly [string, Layout],
  [b, bLayout]: readonly [string, Layout],
  { from, to }: { from: string; to: string },
): string {
  const { m, n, k } = units
  const lefts = range(tm / m).map(
    (i) => `let l${i} = ${load(units, 'left', 'left', `step * ${rows}u + own_row + ${i * m}u`, rows)};`,
  )
  const rights = range(tn / n).map(
    (j) => `let r${j} = ${load(units, 'right', 'right', `step * ${columns}u + own_column + ${j * n}u`, columns)};`,
  )
  const products = range(tm / m).flatMap((i) =>
    range(tn / n).map((j) => `c${i}_${j} = subgroupMatrixMultiplyAccumulate(l${i}, r${j}, c${i}_${j});`),
  )
  return `for (var k0 = ${from}; k0 < ${to}; k0 += ${DEPTH}u) {
    ${stage(units, a, 'left', aLayout, 'row0', rows, threads)}
    ${stage(units, b, 'right', bLayout, 'column0', columns, threads)}
    workgroupBarrier();
    for (var step = 0u; step < ${DEPTH}u; step += ${k}u) {
      ${[...lefts, ...rights, ...products].join('\n')}
    }
    workgroupBarrier();
  }`
}

/** Four neighbours a thread at a time into workgroup memory, depth first. */
function stage(
  { component }: MatrixUnits,
  name: string,
  into: string,
  layout: Layout,
  first: string,
  outer: number,
  threads: number,
): string {
  const [fours, next] = layout === 'k-last' ? [DEPTH / 4, outer] : [outer / 4, 1]
  const read =
    layout === 'k-last' ? `load_${name}(${first} + line, k0 + four)` : `load_${name}(k0 + line, ${first} + four)`
  const at = layout === 'k-last' ? `four * ${outer}u + line` : `line * ${outer}u + four`
  const lines = layout === 'k-last' ? outer : DEPTH
  return `for (var i = tid; i < ${lines * fours}u; i += ${threads}u) {
      let line = i / ${fours}u; let four = i % ${fours}u * 4u;
      let v = ${read}; let at = ${at};
      ${range(4).map((l) => `${into}[at + ${l * next}u] = ${component}(v.${'xyzw'[l]});`).join(' ')} }` // prettier-ignore
}

/** One matrix of results through workgroup memory, where its order is known, to where it belongs. */
function storeWGSL(c: string, units: MatrixUnits, bindings: Record<string, Binding>): string {
  const { m, n, lanes } = units
  const [i, j] = c.slice(1).split('_').map(Number) as [number, number]
  const bias = bindings.bias ? ' + bias[column]' : ''
  const plus = bindings.plus ? ' + plus[row * u.n + column]' : ''
  return `${save(units, 'results', `subgroup * ${m * n}u`, c, n)}
  workgroupBarrier();
  for (var e = tid % ${lanes}u; e < ${m * n}u; e += ${lanes}u) {
    let row = row0 + own_row + ${i * m}u + e / ${n}u;
    let column = column0 + own_column + ${j * n}u + e % ${n}u;
    if (row < u.m && column < u.n) { y[(row + first) * u.n + column] = results[subgroup * ${m * n}u + e] * s + beyond${bias}${plus}; }
  }
  workgroupBarrier();`
}
