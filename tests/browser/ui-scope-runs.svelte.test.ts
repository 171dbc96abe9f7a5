/** The chart of one run after another on the same page: the second is drawn as it goes on, too. */
import { flushSync, mount, unmount } from 'svelte'
import { expect, it, onTestFinished } from 'vitest'
import { MetricBuffer } from '../../src/shared/metrics'
import Scope from '../../src/ui/components/Scope.svelte'
import '../../src/ui/styles/tokens.css'
import '../../src/ui/styles/base.css'

it('draws what a second run measures', async () => {
  const props = $state({
    name: 'A run',
    version: 0,
    marks: [],
    totalSteps: 50,
    live: true,
    metrics: new MetricBuffer(),
  })
  const target = document.createElement('main')
  document.body.append(target)
  const shown = mount(Scope, { target, props })
  onTestFinished(async () => {
    await unmount(shown)
    target.remove()
  })
  const measure = (from: number, to: number): void => {
    for (let step = from; step <= to; step++) {
      props.metrics.push({ step, epoch: step, time: step, loss: 9 / step, learningRate: 1e-3, gradNorm: 1 })
    }
    props.version++
    flushSync()
  }
  const picture = (): string => target.querySelector('canvas')?.toDataURL() ?? ''
  measure(1, 10)
  await expect.poll(() => target.querySelectorAll('canvas').length).toBe(3)

  props.metrics = new MetricBuffer()
  props.version++
  flushSync()
  expect(target.querySelectorAll('canvas').length).toBe(0)
  measure(1, 1)
  await expect.poll(() => target.querySelectorAll('canvas').length).toBe(3)
  await expect.poll(picture).not.toBe('')
  const early = picture()
  measure(2, 40)
  await expect.poll(picture).not.toBe(early)
})
