/** WebAssembly on several threads wherever the folder is hosted: the service worker isolates the page from the second visit on. */
import { expect, test, type Page } from '@playwright/test'
import { bringData, go, host, losses, set, status } from './support'

const chip = (page: Page) => page.getByRole('button', { name: 'Device', exact: true })
const isolated = (page: Page) => page.evaluate(() => crossOriginIsolated)

/** Several threads, or the word that they were there and slower, where something else keeps this machine's cores busy. */
async function expectThreads(page: Page): Promise<void> {
  await expect(chip(page)).toContainText(/thread/)
  await chip(page).click()
  await expect(page.locator('#device-details')).toContainText(/\d threads|Something else keeps the processor busy/)
  await page.keyboard.press('Escape')
}

async function train(page: Page): Promise<string[]> {
  await bringData(page)
  await go(page, 'Train')
  await set(page, 'Steps', '3')
  await set(page, 'Batch size', '2')
  await set(page, 'Sample length', '0')
  await set(page, 'LoRA dropout', '0.1')
  await set(page, 'Runs on', 'wasm')
  await page.getByRole('button', { name: 'Start training' }).click()
  await expect(status(page)).toContainText('Done', { timeout: 240_000 })
  await go(page, 'Runs')
  await page.getByRole('table', { name: 'Runs' }).getByRole('link').first().click()
  return losses(page)
}

test('a second visit trains on several threads, to the same losses, also offline', async ({ page }) => {
  const { url, server } = await host()
  try {
    await page.goto(url)
    expect(await isolated(page)).toBe(false)
    const cores = await page.evaluate(() => navigator.hardwareConcurrency)
    test.skip(cores < 2, 'one core')
    await expect(chip(page)).toContainText('one thread')
    await chip(page).click()
    await expect(page.locator('#device-details')).toContainText('from your next visit on')
    await page.keyboard.press('Escape')
    const alone = await train(page)
    expect(alone.length).toBeGreaterThanOrEqual(3)

    await page.evaluate(() => navigator.serviceWorker.ready.then(() => true))
    await page.goto('about:blank')
    await page.goto(url)
    expect(await isolated(page)).toBe(true)
    await expectThreads(page)
    expect(await train(page)).toEqual(alone)

    await new Promise((closed) => (server.close(closed), server.closeAllConnections()))
    await page.goto('about:blank')
    await page.goto(url)
    expect(await isolated(page)).toBe(true)
    await expectThreads(page)
  } finally {
    server.close()
  }
})
