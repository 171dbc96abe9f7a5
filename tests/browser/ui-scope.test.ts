/** The curves of a run on the page: drawn, read out, walked along by keyboard, and there as a table. */
import { describe, expect, it } from 'vitest'
import { show } from './support/show'
import { MetricBuffer } from '../../src/shared/metrics'
import Scope from '../../src/ui/components/Scope.svelte'
import '../../src/ui/styles/tokens.css'
import '../../src/ui/styles/base.css'

function metrics(steps: number): MetricBuffer {
  const buffer = new MetricBuffer()
  for (let step = 1; step <= steps; step++) {
    buffer.push({ step, epoch: step / 10, time: step * 100, loss: 4 / step, learningRate: 1e-3, gradNorm: 1 })
    if (step % 5 === 0) buffer.push({ step, epoch: step / 10, time: step * 100, evalLoss: 5 / step })
  }
  return buffer
}
const props = (buffer: MetricBuffer) => ({
  name: 'A run',
  metrics: buffer,
  version: 1,
  marks: [{ step: 10, kind: 'best' as const, text: 'Best so far.' }],
  totalSteps: 20,
  live: false,
})

describe('the loss chart', () => {
  it('draws ember and teal traces on its canvas', async () => {
    const page = show(Scope, props(metrics(20)))
    await expect.element(page.getByRole('slider', { name: /^Crosshair/ })).toBeVisible()
    await expect.poll(() => document.querySelectorAll('canvas').length).toBe(3)
    const seen = () => {
      const canvas = document.querySelector('canvas') as HTMLCanvasElement
      const { data } = (canvas.getContext('2d') as CanvasRenderingContext2D).getImageData(
        0,
        0,
        canvas.width,
        canvas.height,
      )
      let ember = 0
      let teal = 0
      for (let i = 0; i < data.length; i += 4) {
        const [r = 0, g = 0, b = 0] = data.subarray(i, i + 3)
        if (r > 150 && r - b > 120 && g < 100) ember++
        if (g > 80 && g - r > 70 && Math.abs(g - b) < 40) teal++
      }
      return ember > 100 && teal > 100
    }
    await expect.poll(seen).toBe(true)
  })

  it('reads out the last step, and another when walked to', async () => {
    const page = show(Scope, props(metrics(20)))
    const slider = page.getByRole('slider', { name: /^Crosshair/ })
    await expect.element(slider).toHaveAttribute('aria-valuetext', 'step 20: loss 0.200, validation 0.250')
    await expect.poll(() => document.querySelectorAll('canvas').length).toBe(3)
    ;(slider.element() as HTMLElement).focus()
    slider.element().dispatchEvent(new KeyboardEvent('keydown', { key: 'Home', bubbles: true }))
    await expect.element(slider).toHaveAttribute('aria-valuetext', 'step 1: loss 4.00, validation –')
    slider.element().dispatchEvent(new KeyboardEvent('keydown', { key: 'PageUp', bubbles: true }))
    await expect.element(slider).toHaveAttribute('aria-valuetext', 'step 11: loss 0.364, validation 0.500')
  })

  it('has reward margin and accuracy of a run over preferences as curves, readouts and numbers', async () => {
    const buffer = new MetricBuffer()
    for (let step = 1; step <= 20; step++) {
      const at = { step, epoch: step / 10, time: step * 100 }
      buffer.push({ ...at, loss: 1, learningRate: 1, gradNorm: 1, rewardMargin: step / 10, rewardAccuracy: 0.75 })
      if (step % 5 === 0)
        buffer.push({ ...at, evalLoss: 1, evalRewardMargin: step / 20, evalRewardAccuracy: step / 20 })
    }
    const page = show(Scope, props(buffer))
    await expect.poll(() => document.querySelectorAll('canvas').length).toBe(5)
    const text = page
      .getByRole('slider', { name: /^Crosshair/ })
      .element()
      .getAttribute('aria-valuetext')
    expect(text).toMatch(/reward margin .+, better answer preferred in 100% of the validation pairs/)
    await page.getByRole('button', { name: 'Show as table' }).click()
    await expect.element(page.getByRole('row', { name: /^20 2.00 1.00 1.00 2.00 75% 100%/ })).toBeVisible()
  })

  it('shows the same numbers as a table', async () => {
    const page = show(Scope, props(metrics(12)))
    await page.getByRole('button', { name: 'Show as table' }).click()
    await expect.element(page.getByRole('row', { name: '10 1.00 0.400 0.500 0.00100 1.00 Best so far.' })).toBeVisible()
    expect(page.getByRole('row').elements()).toHaveLength(13)
  })

  it('says what will be there while there is nothing', async () => {
    const page = show(Scope, props(new MetricBuffer()))
    await expect.element(page.getByRole('region', { name: 'Loss chart' })).toBeVisible()
    expect(page.getByRole('button', { name: 'Show as table' }).elements()).toHaveLength(0)
    expect(document.querySelector('canvas')).toBeNull()
  })
})
