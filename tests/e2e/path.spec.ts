/** A person's whole path with a real model: bring it, drop data, train, pause, reload, resume, compare, export, bring back. */
import { readFileSync } from 'node:fs'
import { expect, test, type Locator, type Page } from '@playwright/test'
import { readZip } from '../../src/engine/formats/zip'
import { readPeft } from '../../src/engine/formats/peft'
import { bringData, bringModel, go, set, status } from './support'

for (const { backend, steps } of [
  { backend: 'wasm', steps: 60 },
  { backend: 'webgpu', steps: 12 },
]) {
  test(`trains, survives a reload, compares and exports on ${backend}`, async ({ page }) => {
    await page.goto('./')
    await bringModel(page)
    await bringData(page)
    await go(page, 'Train')
    await set(page, 'Steps', String(steps))
    await set(page, 'Runs on', backend)
    await page.getByRole('button', { name: 'Start training' }).click()
    await expect(status(page)).toContainText(/Step \d+ of \d+ · loss \d/, { timeout: 120_000 })
    await expect(page.getByRole('navigation', { name: 'Places' })).toContainText('1 run')

    await page.getByRole('button', { name: 'Pause' }).click()
    await expect(page.getByRole('button', { name: 'Resume' })).toBeVisible({ timeout: 60_000 })
    await page.reload()
    await page.getByRole('button', { name: 'Resume' }).click()
    await expect(status(page)).toContainText('Done', { timeout: 240_000 })

    await go(page, 'Try')
    await page.getByRole('textbox', { name: 'Prompt' }).fill('Who are you?')
    await page.getByRole('button', { name: 'Generate' }).click()
    const tuned = page.getByRole('region', { name: 'Tuned model' })
    await expect(tuned).toContainText(/tokens\/s/, { timeout: 120_000 })
    await expect(page.getByRole('button', { name: 'Generate' })).toBeEnabled({ timeout: 120_000 })
    const base = page.getByRole('region', { name: 'Base model' })
    expect(await answer(base)).not.toBe(await answer(tuned))

    await go(page, 'Runs')
    await page.getByRole('table', { name: 'Runs' }).getByRole('link').first().click()
    const exported = await exportAdapter(page)
    const adapter = await readPeft(await readZip(exported))
    expect(adapter.config.peft_type).toBe('LORA')
    expect(Object.keys(adapter.tensors).length).toBeGreaterThanOrEqual(2 * 7 * 2)
  })
}

async function answer(region: Locator): Promise<string> {
  const text = (await region.innerText()).trim()
  expect(text.length).toBeGreaterThan(0)
  return text
}

async function exportAdapter(page: Page): Promise<Uint8Array> {
  await page.getByRole('button', { name: 'Export' }).first().click()
  const download = page.waitForEvent('download')
  await page.getByRole('button', { name: 'PEFT adapter' }).click()
  return readFileSync(await (await download).path())
}
