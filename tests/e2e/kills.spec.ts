/** Kills the tab five times in the middle of a run: each time it goes on from its last checkpoint, and ends with the same losses. */
import { expect, test, type Page } from '@playwright/test'
import { bringData, bringModel, go, losses, set, status } from './support'

const STEPS = 120

async function start(page: Page): Promise<void> {
  await go(page, 'Train')
  await set(page, 'Steps', String(STEPS))
  await set(page, 'Checkpoint every', '7')
  await set(page, 'Evaluate every', '30')
  await set(page, 'LoRA dropout', '0.05')
  await set(page, 'Runs on', 'wasm')
  await page.getByRole('button', { name: 'Start training' }).click()
}

/** The visible status follows every step; the live region for screen readers speaks only now and then. */
const reached = (page: Page, step: number) =>
  expect
    .poll(
      async () => Number(/Step (\d+)/.exec((await page.locator('main .status').first().textContent()) ?? '')?.[1] ?? 0),
      { timeout: 120_000, intervals: [50] },
    )
    .toBeGreaterThanOrEqual(step)

test('a killed tab costs nothing', async ({ page, context }) => {
  await page.goto('./')
  await bringModel(page)
  await bringData(page)
  await start(page)
  await expect(status(page)).toContainText('Done', { timeout: 200_000 })
  const whole = await losses(page)
  expect(whole.length).toBeGreaterThanOrEqual(STEPS)

  await start(page)
  let tab = page
  for (const step of [5, 21, 43, 66, 88]) {
    await reached(tab, step)
    await tab.close()
    tab = await context.newPage()
    await tab.goto('./#/train')
    await tab.getByRole('button', { name: 'Resume' }).click()
  }
  await expect(status(tab)).toContainText('Done', { timeout: 200_000 })
  expect(await losses(tab)).toEqual(whole)
})
