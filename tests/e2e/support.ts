/** What the end-to-end tests share: real models and data where they are, and the steps that a person takes. */
import { existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { extname, join, resolve } from 'node:path'
import { expect, type Page } from '@playwright/test'

const SHARED = resolve(import.meta.dirname, '../../../shared/data')
/** A real Llama of 656,000 parameters, or null where the shared data is absent. */
const MODEL_FOLDER = existsSync(join(SHARED, 'models/tinystories-656K'))
  ? join(SHARED, 'models/tinystories-656K')
  : null
const IDENTITY = join(SHARED, 'datasets/llamafactory-demo/identity.json')

/** LLaMA-Factory's identity set, or a small set of our own in the same format. */
export function datasetFile(): string {
  return existsSync(IDENTITY) ? IDENTITY : writeFile('voice.json', JSON.stringify(ownRows()))
}

/** A file of its own in a fresh folder. */
export function writeFile(name: string, content: string | Uint8Array): string {
  const path = join(mkdtempSync(join(tmpdir(), 'finetab-')), name)
  writeFileSync(path, content)
  return path
}

function ownRows(): object[] {
  const things = ['the sea', 'a cat', 'the moon', 'a hat', 'rain', 'bread', 'a boat', 'the wind']
  const asks = ['What is', 'Tell me about', 'Say something about', 'Do you know', 'Where is']
  return asks.flatMap((ask) =>
    things.map((thing) => ({
      instruction: `${ask} ${thing}?`,
      input: '',
      output: `Arr, ${thing} be a fine thing, matey.`,
    })),
  )
}

/** Goes to one of the five places, and waits for it: until it is loaded the one before is shown. */
export async function go(page: Page, place: 'Model' | 'Data' | 'Train' | 'Try' | 'Runs'): Promise<void> {
  await page.getByRole('link', { name: place, exact: true }).first().click()
  await expect(page.getByRole('heading', { level: 1, name: place, exact: true })).toBeVisible()
}

/** Brings in the real model where it is here; else the bundled one is selected already. */
export async function bringModel(page: Page): Promise<void> {
  await go(page, 'Model')
  if (!MODEL_FOLDER) return
  await page.getByLabel('Model folder').setInputFiles(MODEL_FOLDER)
  await expect(page.getByRole('main')).toContainText('tinystories-656K')
  await expect(page.getByRole('main')).toContainText(/656/)
}

/** Drops in the dataset. */
export async function bringData(page: Page, file = datasetFile()): Promise<void> {
  await go(page, 'Data')
  await page.getByLabel('Dataset file').setInputFiles(file)
  await expect(page.getByRole('main')).toContainText(/alpaca/i)
}

/** Sets a setting under Train by its label. */
export async function set(page: Page, label: string, value: string): Promise<void> {
  const field = page.getByLabel(label, { exact: true })
  if (!(await field.isVisible())) {
    const find = page.getByLabel('Find a setting')
    if (!(await find.isVisible())) await page.getByText('Advanced', { exact: true }).click()
    await find.fill(label)
  }
  const tag = await field.evaluate((element) => element.tagName)
  if (tag === 'SELECT') await field.selectOption(value)
  else await field.fill(value)
  await field.blur()
}

/** The live region of training. */
export function status(page: Page) {
  return page.getByRole('status', { name: 'Training status' })
}

/** Steps with their training and validation losses in full precision, from the CSV that the page offers. */
export async function losses(page: Page): Promise<string[]> {
  const download = page.waitForEvent('download')
  await page.getByRole('button', { name: 'Download CSV' }).click()
  const csv = readFileSync(await (await download).path(), 'utf8')
  const [header, ...rows] = csv.trim().split('\n')
  const names = (header as string).split(',')
  const at = ['step', 'loss', 'evalLoss', 'gradNorm'].map((name) => names.indexOf(name))
  return rows.map((row) => at.map((column) => row.split(',')[column]).join(' '))
}

const DIST = resolve(import.meta.dirname, '../../dist')
const TYPES: Record<string, string> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
}

/**
 * The built folder under a path of its own, without any header that a host might or might not send.
 * @param before hears each path, and may hold its answer back.
 */
export async function host(
  before: (path: string) => Promise<void> | void = () => {},
): Promise<{ url: string; server: Server }> {
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent((request.url ?? '/').split('?')[0] as string)
    await before(path)
    const file = join(DIST, path.replace(/^\/some\/where\//, '').replace(/^$/, 'index.html'))
    if (!path.startsWith('/some/where/') || !existsSync(file)) return void response.writeHead(404).end()
    response.writeHead(200, { 'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream' })
    response.end(readFileSync(file))
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/some/where/`, server }
}
