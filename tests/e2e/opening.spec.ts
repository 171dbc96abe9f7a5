/** A first visit over a slow line: what can be read and pressed comes before the engine, and what is for later comes after it. */
import { expect, test } from '@playwright/test'
import { host } from './support'

test('the welcome is there before the engine is, and the offline copy is fetched only after it', async ({ page }) => {
  const asked: string[] = []
  let release = () => {}
  const held = new Promise<void>((done) => (release = done))
  const { url, server } = await host(async (path) => {
    asked.push(path)
    if (path.includes('engine.worker')) await held
  })
  try {
    await page.goto(url)
    await page.getByRole('button', { name: 'Train the sample' }).click()
    await expect(page.getByRole('region', { name: 'Loss chart' })).toContainText('Getting ready')
    await expect(page.getByRole('button', { name: 'Start training' })).toBeDisabled()
    expect(asked.filter((path) => path.endsWith('sw.js'))).toEqual([])
    release()
    await expect(page.getByRole('button', { name: 'Start training' })).toBeEnabled()
    await expect.poll(() => asked.some((path) => path.endsWith('sw.js'))).toBe(true)
  } finally {
    server.close()
    server.closeAllConnections()
  }
})
