/** A model from a hub in the page: looked up, fetched from a local server, paused, gone on with, trained on. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test, type Page } from '@playwright/test'
import { startHub, TOKEN, type HubServer } from '../support/hub-server'
import { go, set, status, writeFile } from './support'

let hub: HubServer

test.beforeEach(async () => {
  const folder = join(import.meta.dirname, '../golden/llama-gqa-tied')
  const names = readdirSync(folder).filter((name) => /^(config|tokenizer|tokenizer_config)\.json$|^model\./.test(name))
  hub = await startHub(Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name))])))
})
test.afterEach(() => hub.close())

const found = (page: Page) => page.getByRole('article', { name: 'me/tiny' })
const chosen = (page: Page) => page.getByRole('list', { name: 'Yours' })

async function lookUp(page: Page, name = 'me/tiny'): Promise<void> {
  await page.getByLabel('Model on').fill(name)
  await page.getByRole('button', { name: 'Look up', exact: true }).click()
}

async function openHub(page: Page): Promise<void> {
  await page.goto('./')
  await go(page, 'Model')
  await page.getByText('Endpoint and token').click()
  await page.getByLabel('Endpoint', { exact: true }).fill(hub.endpoint)
  await page.getByLabel('Endpoint', { exact: true }).blur()
  await expect(page.getByLabel(`Model on ${hub.endpoint.replace('http://', '')}`)).toBeVisible()
}

test('is looked up, fetched and trained on', async ({ page }) => {
  await openHub(page)
  await lookUp(page)
  await expect(found(page)).toContainText('MIT')
  await expect(found(page)).toContainText('llama')
  await found(page)
    .getByRole('button', { name: /^Fetch/ })
    .click()
  await expect(chosen(page)).toContainText('chosen')
  await expect(chosen(page)).toContainText('me/tiny')

  const rows = Array.from({ length: 12 }, (_, i) =>
    JSON.stringify({ prompt: `say ${i}: `, completion: 'abc'.repeat(3) }),
  )
  await go(page, 'Data')
  await page.getByLabel('Dataset file').setInputFiles(writeFile('pairs.jsonl', rows.join('\n')))
  await expect(page.getByRole('main')).toContainText('12 rows')
  await go(page, 'Train')
  await set(page, 'Steps', '3')
  await set(page, 'Runs on', 'wasm')
  await page.getByRole('button', { name: 'Start training' }).click()
  await expect(status(page)).toContainText('Done', { timeout: 120_000 })
  await expect(status(page)).toContainText('Step 3 of 3')
})

test('is paused, and gone on with after a reload; a transfer can be thrown away', async ({ page }) => {
  await openHub(page)
  const stall = { kind: 'stall' as const, after: 30_000, only: { file: 'model.safetensors', least: 50_000 } }
  for (const end of ['resume', 'delete']) {
    hub.troubles = [stall]
    await lookUp(page)
    await found(page)
      .getByRole('button', { name: /^Fetch/ })
      .click()
    const moving = page.getByRole('group', { name: 'Fetching me/tiny' })
    await expect(moving).toContainText(/kB of .* kB/)
    await moving.getByRole('button', { name: 'Pause' }).click()
    const interrupted = page.getByRole('group', { name: /Interrupted: me\/tiny/ })
    await expect(interrupted).toContainText('are here')
    await page.reload()
    if (end === 'resume') {
      await interrupted.getByRole('button', { name: 'Resume' }).click()
      await expect(chosen(page)).toContainText('me/tiny')
      await expect(interrupted).toHaveCount(0)
      await page.getByRole('button', { name: 'Delete me/tiny' }).click()
      await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
      await expect(chosen(page)).toHaveCount(0)
    } else {
      await interrupted.getByRole('button', { name: 'Delete what came' }).click()
      await expect(interrupted).toHaveCount(0)
      await expect(page.getByRole('region', { name: 'Kept here' })).toContainText('No models of your own')
    }
  }
})

test('that is gated asks for a token, which is forgotten unless it is to be remembered', async ({ page }) => {
  hub.gated = true
  await openHub(page)
  await lookUp(page)
  await expect(found(page)).toContainText('gated')
  await expect(found(page).getByRole('link', { name: 'the model’s page' })).toHaveAttribute(
    'href',
    `${hub.endpoint}/me/tiny`,
  )
  await found(page).getByLabel('Access token').fill(TOKEN)
  await found(page).getByRole('button', { name: 'Use it' }).click()
  await expect(found(page).getByRole('button', { name: /^Fetch/ })).toBeVisible()
  expect(await kept(page)).not.toContain(TOKEN)
  await page.reload()
  await lookUp(page)
  await expect(found(page).getByLabel('Access token')).toHaveValue('')
  await found(page).getByLabel('Access token').fill(TOKEN)
  await found(page).getByLabel('Remember on this device').check()
  await expect.poll(() => kept(page)).toContain(TOKEN)
  await page.reload()
  await lookUp(page)
  await found(page)
    .getByRole('button', { name: /^Fetch/ })
    .click()
  await expect(chosen(page)).toContainText('me/tiny')
  expect(hub.asked.every(({ host, authorization }) => host === 'hub' || authorization === '')).toBe(true)
})

test('of another family, or that is not there, is refused in words, and the next try clears them', async ({ page }) => {
  await openHub(page)
  hub.replaced = { 'config.json': '{"model_type":"bloom"}' }
  await lookUp(page)
  await expect(found(page).getByRole('alert')).toContainText('Nearest supported')
  await expect(found(page).getByRole('button', { name: /^Fetch/ })).toHaveCount(0)
  await lookUp(page, 'me/none')
  await expect(page.getByRole('alert')).toContainText('no such model')
  hub.replaced = {}
  await lookUp(page)
  await expect(found(page)).toBeVisible()
  await expect(page.getByRole('alert')).toHaveCount(0)
})

/** Everything that the page's settings keep, as text. */
function kept(page: Page): Promise<string> {
  return page.evaluate(
    () =>
      new Promise<string>((resolve, reject) => {
        const opening = indexedDB.open('finetab-settings')
        opening.onerror = () => reject(new Error('settings cannot be read'))
        opening.onsuccess = () => {
          const reading = opening.result.transaction('table').objectStore('table').getAll()
          reading.onsuccess = () => {
            opening.result.close()
            resolve(JSON.stringify(reading.result))
          }
        }
      }),
  )
}
