/** Wasm on several threads in Node: it really has them, and every number is the one that one thread gives. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { threadsFor } from '../../../src/engine'

const PROBE = fileURLToPath(new URL('../../support/threads-probe.ts', import.meta.url))

/** A process has one wasm backend for good: each count gets its own. */
function probe(threads: number): { adapter: string; shared: boolean; numbers: Record<string, string> } {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', PROBE, String(threads)], {
    encoding: 'utf8',
  })
  expect([status, stderr]).toEqual([0, ''])
  return JSON.parse(stdout) as ReturnType<typeof probe>
}

it('computes the same bits on one thread, two and three, also after its memory grew', { timeout: 120_000 }, () => {
  const [one, two, three] = [probe(1), probe(2), probe(3)]
  expect(one).toMatchObject({ adapter: 'WebAssembly, one thread', shared: false })
  expect(two).toMatchObject({ adapter: 'WebAssembly, 2 threads', shared: true })
  expect(three).toMatchObject({ adapter: 'WebAssembly, 3 threads', shared: true })
  expect(Object.keys(one.numbers).length).toBeGreaterThan(10)
  expect(two.numbers).toEqual(one.numbers)
  expect(three.numbers).toEqual(one.numbers)
})

it.each([
  [1, 1],
  [2, 2],
  [3, 3],
  [4, 3],
  [8, 7],
  [32, 8],
])('of %i cores it takes %i', (cores, threads) => expect(threadsFor(cores)).toBe(threads))
