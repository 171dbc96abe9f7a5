/** A person goes on from an adapter: after a run of their own, with its rank brought along, and back to a fresh one. */
import { expect, test } from '@playwright/test'
import { bringData, bringModel, go, set, status } from './support'

test('a run goes on from what another has learnt', async ({ page }) => {
  await page.goto('./')
  await bringModel(page)
  await bringData(page)
  await go(page, 'Train')
  await expect(page.getByLabel('Start from')).toHaveCount(0)
  await set(page, 'LoRA rank', '4')
  await set(page, 'Steps', '3')
  await set(page, 'Runs on', 'wasm')
  await page.getByRole('button', { name: 'Start training' }).click()
  await expect(status(page)).toContainText('Done', { timeout: 120_000 })

  await go(page, 'Runs')
  await page.getByRole('table', { name: 'Runs' }).getByRole('link').first().click()
  const name = await page.getByRole('heading', { level: 1 }).innerText()
  await page.getByRole('button', { name: 'Train on from it' }).click()
  await expect(page.getByLabel('Start from')).toContainText(name)
  await expect(page.getByLabel('LoRA rank', { exact: true })).toBeDisabled()
  await expect(page.getByLabel('LoRA rank', { exact: true })).toHaveValue('4')
  await page.getByRole('button', { name: 'Start training' }).click()
  await expect(status(page)).toContainText('Step 3 of 3', { timeout: 120_000 })
  await expect(status(page)).toContainText('Done')

  await page.getByLabel('Start from').selectOption({ label: 'the base as it is' })
  await expect(page.getByLabel('LoRA rank', { exact: true })).toBeEnabled()
  await go(page, 'Runs')
  await page.getByRole('table', { name: 'Runs' }).getByRole('link').first().click()
  await expect(page.getByRole('region', { name: 'In short' })).toContainText(`Went on from ${name}`)
})
