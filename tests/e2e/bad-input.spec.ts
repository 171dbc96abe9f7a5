/** Wrong files in a person's hands: each gets what happened, where and what to do, and what was there stays. */
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from '@playwright/test'
import { bringData, go, writeFile } from './support'

function modelFolder(files: Record<string, string | Uint8Array>): string {
  const folder = join(mkdtempSync(join(tmpdir(), 'finetab-')), 'model')
  mkdirSync(folder)
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content)
  return folder
}

const LLAMA = JSON.stringify({
  model_type: 'llama',
  hidden_size: 8,
  intermediate_size: 16,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  vocab_size: 16,
})

for (const { what, files, says } of [
  { what: 'pickle weights', files: { 'config.json': LLAMA, 'pytorch_model.bin': 'x' }, says: /pickle|safetensors/i },
  {
    what: 'another architecture',
    files: { 'config.json': '{"model_type":"bloom"}', 'model.safetensors': 'x' },
    says: /bloom.*not supported/i,
  },
  { what: 'no config', files: { 'readme.txt': 'hello' }, says: /config\.json/ },
  {
    what: 'weights cut short',
    files: { 'config.json': LLAMA, 'model.safetensors': new Uint8Array([255, 255, 0, 0, 0, 0, 0, 0, 123]) },
    says: /model\.safetensors/,
  },
]) {
  test(`a model folder with ${what}`, async ({ page }) => {
    await page.goto('./')
    await go(page, 'Model')
    await page.getByLabel('Model folder').setInputFiles(modelFolder(files))
    const alert = page.getByRole('alert').first()
    await expect(alert).toContainText(says)
    await expect(alert).toContainText('What to do')
    await page.reload()
    await expect(page.getByRole('main')).not.toContainText('model/')
  })
}

for (const { what, name, content, says } of [
  {
    what: 'no text',
    name: 'photo.jsonl',
    content: new Uint8Array([0xff, 0xfe, 0x80, 0x00, 0xc3]),
    says: /UTF-8|UTF-16/,
  },
  { what: 'nothing in it', name: 'empty.json', content: '', says: /empty|no rows/i },
  { what: 'another kind of JSON', name: 'number.json', content: '42', says: /rows|array|list/i },
  { what: 'the same column twice', name: 'twice.csv', content: 'prompt,prompt\na,b\n', says: /prompt/ },
]) {
  test(`a dataset file with ${what}`, async ({ page }) => {
    await page.goto('./')
    await bringData(page)
    await page.getByLabel('Dataset file').setInputFiles(writeFile(name, content))
    const alert = page.getByRole('alert').first()
    await expect(alert).toContainText(says)
    await expect(alert).toContainText('What to do')
    await page.reload()
    await go(page, 'Data')
    await expect(page.getByRole('main')).toContainText(/alpaca/i)
  })
}

test('a setting out of bounds is named beside the button that it holds back', async ({ page }) => {
  await page.goto('./')
  await bringData(page)
  await go(page, 'Train')
  await expect(page.getByRole('button', { name: 'Start training' })).toBeEnabled()
  const reason = page.getByText(/It cannot be started yet/)
  await expect(reason).toHaveCount(0)
  await page.getByLabel('Batch size', { exact: true }).fill('9999')
  await expect(reason).toContainText('Batch size must be between 1 and 512')
  await expect(page.getByRole('button', { name: 'Start training' })).toBeDisabled()
})
