/** For everybody: axe finds nothing, the keyboard reaches everything, and nothing is asked of any other server. */
import AxeBuilder from '@axe-core/playwright'
import { expect, test, type Page } from '@playwright/test'
import { go, set, status } from './support'

const PLACES = ['Model', 'Data', 'Train', 'Try', 'Runs'] as const

for (const colorScheme of ['light', 'dark'] as const) {
  for (const width of [390, 1280]) {
    test(`axe finds no violation at ${width} px, ${colorScheme}`, async ({ page }) => {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
      await page.setViewportSize({ width, height: 860 })
      await page.goto('./')
      await page.goto('./#/data')
      await page
        .getByRole('button', { name: /^Use this/ })
        .first()
        .click()
      for (const place of PLACES) {
        await go(page, place)
        await expect(page.getByRole('heading', { level: 1 })).toHaveText(place)
        const { violations } = await new AxeBuilder({ page }).analyze()
        expect(violations.map(({ id, nodes }) => `${place}: ${id} ${nodes[0]?.html}`)).toEqual([])
        expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width)
      }
    })
  }
}

test('a long name without spaces pushes nothing off the page', async ({ page }) => {
  const name = 'Averylongnamewithoutanyspaces'.repeat(5)
  await page.goto('./')
  await page.getByRole('button', { name: 'Train the sample' }).click()
  await set(page, 'Steps', '1')
  await page.getByRole('button', { name: 'Start training' }).click()
  await expect(status(page)).toContainText('Done', { timeout: 240_000 })
  await go(page, 'Runs')
  const table = page.getByRole('table', { name: 'Runs' })
  await table.getByRole('link').first().click()
  await page.getByLabel('Name', { exact: true }).fill(name)
  await page.getByLabel('Name', { exact: true }).blur()
  await expect(page.getByRole('heading', { level: 1 })).toHaveText(name)
  for (const width of [390, 1280]) {
    await page.setViewportSize({ width, height: 860 })
    for (const place of ['Train', 'Try', 'Runs'] as const) {
      await go(page, place)
      await expect(page.getByRole('heading', { level: 1 })).toHaveText(place)
      expect(await page.evaluate(() => document.documentElement.scrollWidth), place).toBeLessThanOrEqual(width)
    }
    expect(
      await table.evaluate((node) => node.scrollWidth - (node.parentElement as HTMLElement).clientWidth),
    ).toBeLessThanOrEqual(0)
  }
})

/** Presses Tab until the element with this name has the focus. */
async function tabTo(page: Page, name: RegExp): Promise<void> {
  for (let i = 0; i < 200; i++) {
    await page.keyboard.press('Tab')
    const focused = await page.evaluate(() => {
      const element = document.activeElement as HTMLElement & { labels?: NodeListOf<HTMLLabelElement> }
      return element?.getAttribute('aria-label') ?? element?.labels?.[0]?.innerText ?? element?.innerText ?? ''
    })
    if (name.test(focused.trim())) return
  }
  throw new Error(`the keyboard does not reach ${name}`)
}

test('the whole path by keyboard alone', async ({ page }) => {
  await page.goto('./')
  await tabTo(page, /^Data/)
  await page.keyboard.press('Enter')
  await tabTo(page, /^Use this/)
  await page.keyboard.press('Enter')
  await tabTo(page, /^Next: training/)
  await page.keyboard.press('Enter')
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Train')
  await tabTo(page, /^Advanced/)
  await page.keyboard.press('Enter')
  await tabTo(page, /^Length and schedule/)
  await page.keyboard.press('Enter')
  await tabTo(page, /^Steps/)
  await page.keyboard.press('Control+A')
  await page.keyboard.type('6')
  await page.keyboard.press('Tab')
  await page.getByRole('button', { name: 'Start training' }).focus()
  await page.keyboard.press('Enter')
  await expect(status(page)).toContainText('Done', { timeout: 240_000 })
  await tabTo(page, /^Try/)
  await page.keyboard.press('Enter')
  await tabTo(page, /^Prompt/)
  await page.keyboard.type('Who are you?')
  await tabTo(page, /^Generate/)
  await page.keyboard.press('Enter')
  await expect(page.getByRole('region', { name: 'Tuned model' })).toContainText('tokens/s', { timeout: 120_000 })
})

test('a first visit from the welcome to a tuned model asks nothing of any other server', async ({ page, baseURL }) => {
  const elsewhere: string[] = []
  page.on('request', (request) => {
    if (!request.url().startsWith(baseURL as string) && !/^(data|blob):/.test(request.url()))
      elsewhere.push(request.url())
  })
  await page.goto('./')
  await page.getByRole('button', { name: 'Train the sample' }).click()
  await expect(page.getByRole('heading', { level: 1 })).toHaveText('Train')
  await set(page, 'Steps', '2')
  await page.getByRole('button', { name: 'Start training' }).click()
  await expect(status(page)).toContainText('Done', { timeout: 240_000 })
  await go(page, 'Model')
  await expect(page.getByRole('button', { name: 'Train the sample' })).toHaveCount(0)
  expect(elsewhere).toEqual([])
})

test('letters twice as large on a phone hide nothing behind the edge', async ({ playwright, baseURL }) => {
  const { executablePath, args } = test.info().project.use.launchOptions ?? {}
  const large = [...(args ?? []), '--blink-settings=defaultFontSize=32']
  const browser = await playwright.chromium.launch({ ...(executablePath ? { executablePath } : {}), args: large })
  try {
    const page = await browser.newPage({ viewport: { width: 390, height: 844 }, ...(baseURL ? { baseURL } : {}) })
    await page.goto('./#/data')
    await page
      .getByRole('button', { name: /^Use this/ })
      .first()
      .click()
    for (const place of PLACES) {
      await go(page, place)
      await expect(page.getByRole('heading', { level: 1 })).toHaveText(place)
      expect(await page.evaluate(() => document.documentElement.scrollWidth), place).toBeLessThanOrEqual(390)
    }
    const chip = await page.getByRole('button', { name: 'Device', exact: true }).boundingBox()
    const theme = await page.getByRole('button', { name: /^Theme/ }).boundingBox()
    expect((chip?.x ?? 0) + (chip?.width ?? 0)).toBeLessThanOrEqual(theme?.x ?? 0)
  } finally {
    await browser.close()
  }
})
