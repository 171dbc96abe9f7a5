/** Seeded dropout: the share that is dropped, the scale of the rest, and that the mask follows from the seed. */
import { expect, test } from 'vitest'
import { applyDropout, dropoutMask, hash32 } from '../../src/engine/ops/dropout'
import { tf } from '../../src/engine/tf'
import { expectClose, random } from '../support/backends'

test('the hash is PCG’s', () => {
  expect([0, 1, 2, 0xffffffff].map((value) => hash32(value))).toEqual([129708002, 2831084092, 2055130248, 3861530882])
})

test('drops its share and keeps the mean', () => {
  for (const rate of [0.05, 0.5]) {
    const mask = dropoutMask(100_000, rate, 3, 1)
    const dropped = mask.filter((value) => value === 0).length / mask.length
    expect(Math.abs(dropped - rate)).toBeLessThan(0.005)
    expect(mask.find((value) => value > 0)).toBeCloseTo(1 / (1 - rate), 6)
  }
})

test('other seeds and other salts give other, unrelated masks', () => {
  const agree = (a: Float32Array, b: Float32Array): number => a.filter((value, i) => value === b[i]).length / a.length
  const first = dropoutMask(50_000, 0.5, 3, 1)
  expect(agree(first, dropoutMask(50_000, 0.5, 3, 1))).toBe(1)
  for (const [seed, salt] of [
    [4, 1],
    [3, 2],
    [2, 2],
  ] as const)
    expect(Math.abs(agree(first, dropoutMask(50_000, 0.5, seed, salt)) - 0.5)).toBeLessThan(0.02)
})

test('the device uses the same mask', async () => {
  const x = random<tf.Rank.R2>([37, 29], 5)
  const wanted = tf.mul(x, tf.tensor2d(dropoutMask(37 * 29, 0.3, 123_456_789, 4), [37, 29]))
  await expectClose(applyDropout(x, { rate: 0.3, seed: 123_456_789, salt: 4 }), wanted, 1e-6)
  expect(applyDropout(x, { rate: 0, seed: 1 })).toBe(x)
})
