/** Candidates for products on graphics cards: within what devices grant, each named once, and sliced no further than it pays. */
import { describe, expect, it } from 'vitest'
import { CANDIDATES, candidatesFor, choicesNamed, classOf, fits, SHAPES } from '../../../src/engine/ops/gemm-candidates'
import { groupsOf, planFor, sumsOf } from '../../../src/engine/ops/gemm-tile'

/** What every WebGPU device grants. */
const LEAST = {
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupSizeY: 256,
  maxComputeWorkgroupStorageSize: 16384,
}
const SIZES = [1, 3, 8, 9, 16, 31, 64, 85, 192, 512, 576, 1536, 2048, 49152]

describe('candidates', () => {
  it('are named once in a class, and all fit what every device grants', () => {
    for (const shape of SHAPES) {
      const names = CANDIDATES[shape].map(({ name }) => name)
      expect(new Set(names).size).toBe(names.length)
      expect(candidatesFor(shape, LEAST)).toEqual(CANDIDATES[shape])
    }
  })

  it('are refused where a device takes less', () => {
    const wide = { tm: 8, tn: 8, wy: 16, wx: 16, bk: 16 }
    expect(fits(wide, LEAST)).toBe(true)
    expect(fits(wide, { ...LEAST, maxComputeInvocationsPerWorkgroup: 128 })).toBe(false)
    expect(fits(wide, { ...LEAST, maxComputeWorkgroupStorageSize: 16383 })).toBe(false)
    expect(fits({ ...wide, wx: 17, wy: 4 }, { ...LEAST, maxComputeWorkgroupSizeX: 16 })).toBe(false)
    expect(candidatesFor('large', { ...LEAST, maxComputeWorkgroupStorageSize: 12288 }).length).toBe(5)
    const name = CANDIDATES.large.at(-1)!.name
    const named = (limits: typeof LEAST) =>
      choicesNamed((shape) => (shape === 'large' ? name : CANDIDATES[shape][0]!.name), limits)
    expect(named(LEAST)?.large.name).toBe(name)
    expect(named({ ...LEAST, maxComputeWorkgroupStorageSize: 12288 })).toBeNull()
  })

  it('fit for every size of their class, and slices cover k without rest or excess', () => {
    for (const m of SIZES)
      for (const n of SIZES)
        for (const candidate of CANDIDATES[classOf({ m, n })])
          for (const k of [5, 64, 130, 576, 49152]) {
            const { tile, slices, depth } = planFor(candidate, { m, n, k })
            expect(fits(tile, LEAST)).toBe(true)
            if (slices === 1) expect(depth).toBe(k)
            else {
              expect(depth % Math.max(4, tile.bk)).toBe(0)
              expect(depth).toBeGreaterThanOrEqual(64)
              expect(sumsOf({ tile, slices, depth }, { m, n, k })).toBeLessThanOrEqual(2 ** 20)
            }
            expect((slices - 1) * depth).toBeLessThan(k)
            expect(slices * depth).toBeGreaterThanOrEqual(k)
          }
  })

  it('slice gradients of low-rank factors into many workgroups, and full matrices not at all', () => {
    const groups = (m: number, n: number, k: number): number => {
      const plan = planFor(CANDIDATES[classOf({ m, n })][0]!, { m, n, k })
      const [x, y] = groupsOf(plan.tile, { m, n, k })
      return x * y * plan.slices
    }
    expect(groups(16, 576, 512)).toBeGreaterThanOrEqual(64)
    expect(groups(1536, 16, 512)).toBeGreaterThanOrEqual(64)
    expect(groups(85, 576, 49152)).toBeGreaterThanOrEqual(64)
    expect(planFor(CANDIDATES.large[0]!, { m: 1536, n: 576, k: 2048 }).slices).toBe(1)
    expect(planFor(CANDIDATES.thin[0]!, { m: 16, n: 576, k: 512 }, true).slices).toBe(1)
  })
})
