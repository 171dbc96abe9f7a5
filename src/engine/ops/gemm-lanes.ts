/**
 * The product for a processor that plays a GPU four lanes at a time: there a load costs as much as forty multiplications, and a barrier
 * more, so each lane loads what the other three need too and hands it over. Refuses packed factors, dropout and other widths.
 */
import { gpuDevice, isSoftware } from './gpu'
import { range } from './reduce'

/** Rows and columns of C that a lane keeps; a workgroup is one subgroup, whose lanes take every fourth column. */
export interface LaneTile {
  tm: number
  tn: number
}

/** Lanes of a subgroup. */
export const LANES = 4

/** Whether the device computes in subgroups of four on a processor. */
export function hasLanes(): boolean {
  const { features, adapterInfo } = gpuDevice()
  const { subgroupMinSize, subgroupMaxSize } = adapterInfo
  return isSoftware() && features.has('subgroups') && subgroupMinSize === LANES && subgroupMaxSize === LANES
}

/** The tile for an `[m, n]` result. */
export function laneTile(m: number, n: number): LaneTile {
  return { tm: m <= 4 ? 4 : m <= 8 ? 8 : 16, tn: n <= 16 ? 4 : 8 }
}

/** One factor as the loop sees it. */
export interface LaneFactor {
  name: string
  kLast: boolean
}

/** Sums a·b over `inner` into c{i}_{j}; what lies outside is read at a clamped place and counts as zero, or is not stored. */
function loop({ tm, tn }: LaneTile, a: LaneFactor, b: LaneFactor, inner: string): string {
  const row = (i: string): string => `min(row0 + ${i}, u.m - 1u)${a.name === 'a' ? ' + u.a_from' : ''}`
  const last = `${inner} - 1u`
  // Four depths of each row, a lane each; or four rows of each depth.
  const loads = a.kLast
    ? range(tm).map((i) => `let a${i} = select(0.0, ${a.name}[(${row(`${i}u`)}) * ${inner} + min(k0 + lane, ${last})], k0 + lane < ${inner});`) // prettier-ignore
    : range(LANES).flatMap((d) =>
        range(tm / LANES).map(
          (g) => `let a${d}_${g} = select(0.0, ${a.name}[min(k0 + ${d}u, ${last}) * u.m + min(row0 + ${g * LANES}u + lane, u.m - 1u)], k0 + ${d}u < ${inner});`, // prettier-ignore
        ),
      )
  const depths = range(LANES).map((d) => {
    const k = `min(k0 + ${d}u, ${last})`
    const columns = range(tn).map((j) => `let b${j} = ${b.name}[${b.kLast ? `column${j} * ${inner} + ${k}` : `${k} * u.n + column${j}`}];`) // prettier-ignore
    const sums = range(tm).map((i) => {
      const value = a.kLast ? `subgroupBroadcast(a${i}, ${d}u)` : `subgroupBroadcast(a${d}_${Math.floor(i / LANES)}, ${i % LANES}u)` // prettier-ignore
      return `{ let v = ${value}; ${range(tn)
        .map((j) => `c${i}_${j} += v * b${j};`)
        .join(' ')} }`
    })
    return `{ ${columns.join(' ')}\n${sums.join('\n')} }`
  })
  return `for (var k0 = 0u; k0 < ${inner}; k0 += ${LANES}u) {\n${loads.join('\n')}\n${depths.join('\n')} }`
}

/**
 * WGSL with all bindings as `array<f32>`, to be dispatched over `[n / (4 · tn), m / tm]` workgroups with `subgroups` enabled.
 * @param low the low-rank factors, which are summed first and scaled.
 */
export function lanesWGSL(
  tile: LaneTile,
  [a, b]: readonly [LaneFactor, LaneFactor],
  low: readonly [LaneFactor, LaneFactor] | null,
  { scale, bias, plus }: { scale: string; bias: boolean; plus: boolean },
): string {
  const { tm, tn } = tile
  const sums = range(tm).flatMap((i) => range(tn).map((j) => `c${i}_${j}`))
  const scaled = `{ let s = ${scale}; ${sums.map((c) => `${c} *= s;`).join(' ')} }`
  const body = low
    ? [loop(tile, low[0], low[1], 'u.lk'), scaled, loop(tile, a, b, 'u.k')]
    : [loop(tile, a, b, 'u.k'), scaled]
  const store = range(tn).map((j) => {
    const column = `first + ${j * LANES}u`
    const rows = range(tm).map((i) => {
      const more = plus ? ` + plus[(row0 + ${i}u) * u.n + ${column}]` : ''
      return `if (row0 + ${i}u < u.m) { y[(row0 + ${i}u + u.y_from) * u.n + ${column}] = c${i}_${j}${bias ? ' + add' : ''}${more}; }`
    })
    return `if (${column} < u.n) { ${bias ? `let add = bias[${column}];` : ''} ${rows.join(' ')} }`
  })
  return `@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
  let row0 = wid.y * ${tm}u;
  let first = wid.x * ${tn * LANES}u + lane;
  ${range(tn)
    .map((j) => `let column${j} = min(first + ${j * LANES}u, u.n - 1u);`)
    .join(' ')}
  ${sums.map((c) => `var ${c} = 0.0;`).join(' ')}
  ${body.join('\n')}
  ${store.join('\n')}
}`
}
