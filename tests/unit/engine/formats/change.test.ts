/** How far an adapter moves each layer, against numpy. */
import { resolve } from 'node:path'
import { expect, test } from 'vitest'
import { adapterChange } from '../../../../src/engine/formats/change'
import { openWeights } from '../../../../src/engine/formats/checkpoint-index'
import { readPeft } from '../../../../src/engine/formats/peft'
import golden from '../../../golden/change.json'
import { diskFolder } from '../../../support/folder'

const CASE = resolve(import.meta.dirname, '../../../golden/llama-gqa-tied')

test('the change of every module is numpy’s norm of the formed matrix', async () => {
  const base = await openWeights(diskFolder(CASE))
  const adapter = await readPeft(diskFolder(resolve(CASE, 'adapter_init')))
  const changes = await adapterChange(base, adapter)
  const wanted = Object.entries(golden.modules)
  expect(changes.length).toBe(wanted.length)
  for (const [module, { change, weight }] of wanted) {
    const found = changes.find(({ layer, target }) => module.includes(`.${layer}.`) && module.endsWith(`.${target}`))
    expect(found?.change, module).toBeCloseTo(change, 5)
    expect(found?.weight, module).toBeCloseTo(weight, 5)
    expect(found?.ratio, module).toBeCloseTo(change / weight, 6)
  }
})

test.each(Object.entries(golden.merged))(
  '%s: the change is that of the weights that PEFT merges',
  async (name, found) => {
    const folder = (path: string) => diskFolder(resolve(CASE, '..', path))
    const base = await openWeights(folder(found.case))
    const changes = await adapterChange(base, await readPeft(folder(name)))
    const wanted = Object.entries<{ change: number; weight: number }>(found.modules)
    expect(changes.length).toBe(wanted.length)
    changes.forEach(({ layer, target, ratio }) => {
      // GPT-2 has two projections of one name in a layer: the nearest of them is meant.
      const same = wanted.filter(([module]) => module.includes(`.${layer}.`) && module.endsWith(`.${target}`))
      const off = Math.min(...same.map(([, { change, weight }]) => Math.abs(ratio / (change / weight) - 1)))
      expect(off, `${target} of layer ${layer}`).toBeLessThan(1e-5)
    })
  },
)
