/**
 * `npm run screens`: drives the built page through a real short run and saves every place, empty, busy, finished and in
 * error, at 390, 1024 and 1600 px, light and dark, into screens/. With --docs it also takes the README's picture.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ensureChromium, ensureModules, ROOT, run } from './setup.mjs'

ensureModules()
const executablePath = ensureChromium()
const { chromium } = await import('@playwright/test')
const { preview } = await import('vite')
const { tsImport } = await import('tsx/esm/api')
const { startHub } = await tsImport('../tests/support/hub-server.ts', import.meta.url)

if (run('node_modules/.bin/vite', ['build', '--logLevel', 'warn']) !== 0) process.exit(1)
const server = await preview({
  root: ROOT,
  configFile: join(ROOT, 'vite.config.ts'),
  preview: { port: 4180, host: '127.0.0.1' },
})
const browser = await chromium.launch({
  executablePath,
  args: ['--no-sandbox', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'],
})
const page = await (await browser.newContext({ viewport: { width: 1024, height: 768 } })).newPage()
const folder = join(ROOT, 'screens')
rmSync(folder, { recursive: true, force: true })
mkdirSync(folder)
const scratch = mkdtempSync(join(tmpdir(), 'finetab-'))

const PLACES = ['Model', 'Data', 'Train', 'Try', 'Runs']
const SIZES = [
  [390, 844],
  [1024, 768],
  [1600, 1000],
]
const go = (place) => page.getByRole('link', { name: place, exact: true }).first().click()
const status = page.getByRole('status', { name: 'Training status' })

async function shoot(name) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' })
    for (const [width, height] of SIZES) {
      await page.setViewportSize({ width, height })
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))))
      await page.screenshot({ path: join(folder, `${name}-${width}-${colorScheme}.png`), fullPage: true })
    }
  }
  await page.setViewportSize({ width: 1024, height: 768 })
  console.log(name)
}

async function all(state, places = PLACES) {
  for (const place of places) {
    await go(place)
    await page.waitForLoadState('networkidle')
    await shoot(`${place.toLowerCase()}-${state}`)
  }
}

await page.goto(`http://127.0.0.1:4180/`)
await page.waitForLoadState('networkidle')
await all('empty')

// A hub: the short list, a model that is looked up, one that is not there, one that wants a token, a transfer on its way.
const checkpoint = join(ROOT, 'tests/golden/llama-gqa-tied')
const named = readdirSync(checkpoint).filter((name) =>
  /^(config|tokenizer|tokenizer_config)\.json$|^model\./.test(name),
)
const hub = await startHub(Object.fromEntries(named.map((name) => [name, readFileSync(join(checkpoint, name))])))
const lookUp = async (name) => {
  await page.getByLabel('Model on').fill(name)
  await page.getByRole('button', { name: 'Look up', exact: true }).click()
}
await go('Model')
await page.getByText('Small models to start with').click()
await shoot('model-hub-list')
await page.getByText('Small models to start with').click()
await page.getByText('Endpoint and token').click()
await page.getByLabel('Endpoint', { exact: true }).fill(hub.endpoint)
await page.getByLabel('Endpoint', { exact: true }).blur()
await lookUp('me/nothing')
await page.getByRole('alert').first().waitFor()
await shoot('model-hub-missing')
hub.gated = true
await lookUp('me/tiny')
await page.getByRole('article', { name: 'me/tiny' }).getByLabel('Access token').waitFor()
await shoot('model-hub-token')
hub.gated = false
await lookUp('me/tiny')
const fetching = page.getByRole('article', { name: 'me/tiny' }).getByRole('button', { name: /^Fetch/ })
await fetching.waitFor()
await shoot('model-hub-found')
hub.troubles = [{ kind: 'stall', after: 30_000, only: { file: 'model.safetensors', least: 50_000 } }]
await fetching.click()
const moving = page.getByRole('group', { name: 'Fetching me/tiny' })
await moving.getByText(/kB of .* kB/).waitFor()
await shoot('model-hub-fetching')
await moving.getByRole('button', { name: 'Pause' }).click()
await page.getByRole('group', { name: /Interrupted: me.tiny/ }).waitFor()
await shoot('model-hub-interrupted')
await page.getByRole('button', { name: 'Delete what came' }).click()
const endpoint = page.getByLabel('Endpoint', { exact: true })
if (!(await endpoint.isVisible())) await page.getByText('Endpoint and token').click()
await endpoint.fill('')
await page.getByLabel('Endpoint', { exact: true }).blur()
await hub.close()

// Errors: pickle weights, a broken file, a setting out of range, a run that is not there.
const pickle = join(scratch, 'pickled')
mkdirSync(pickle)
writeFileSync(join(pickle, 'config.json'), JSON.stringify({ model_type: 'bloom', vocab_size: 5 }))
writeFileSync(join(pickle, 'pytorch_model.bin'), new Uint8Array([0x80, 2, 0x2e]))
await go('Model')
await page.getByLabel('Model folder').setInputFiles(pickle)
await page.getByRole('alert').first().waitFor()
await shoot('model-error')
const broken = join(scratch, 'photo.jsonl')
writeFileSync(
  broken,
  new Uint8Array(2000).map((_, i) => (i * 37 + 200) % 256),
)
await go('Data')
await page.getByLabel('Dataset file').setInputFiles(broken)
await page.getByRole('alert').first().waitFor()
await shoot('data-error')

// A messy file: its findings, the rows of one, a row, its variations, the columns, what is mixed in, a link.
const messy = join(scratch, 'messy.csv')
const said = ['the sea', 'a cat', 'the moon', 'rain'].map(
  (thing) => `"What is ${thing}?","Well, ${thing} is a fine thing."`,
)
const faults = [said[0], '"What is rain?","Nobody knows."', '"Who do I write to?","To anna.schmidt@example.org."', '"Empty?",""', '"x'] // prettier-ignore
writeFileSync(messy, ['prompt,completion', ...said, ...faults].join('\n'))
await page.getByLabel('Dataset file').setInputFiles(messy)
await page.getByRole('button', { name: /^Show: .*personal data/ }).click()
await shoot('data-audit')
await page.getByRole('region', { name: 'Table of rows' }).getByRole('button').first().click()
await page.getByRole('region', { name: 'As the model sees it' }).waitFor()
await shoot('data-row')
await page.getByRole('button', { name: 'Variations' }).click()
await page.getByLabel('What is new').selectOption('answer')
await page.getByRole('button', { name: 'Write variations' }).click()
await page.getByRole('button', { name: 'Write more' }).waitFor({ timeout: 120_000 })
await shoot('data-variations')
await page.getByRole('button', { name: 'Close' }).click()
await page.getByText('Correct it', { exact: true }).click()
await page.getByText(/^Mixing:/).click()
await page.getByRole('button', { name: 'Mix in a dataset' }).click()
await page.getByRole('button', { name: 'From a link' }).click()
await shoot('data-mapping-mixing-link')
await page.getByRole('button', { name: 'Leave out' }).first().click()
await page.getByRole('button', { name: /^Delete/ }).click()
await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
await page.goto(`http://127.0.0.1:4180/#/runs/nobody`)
await shoot('runs-error')

// A real short run on the bundled model and the first sample.
await go('Data')
await page
  .getByRole('button', { name: /^Use this/ })
  .first()
  .click()
await shoot('data-busy')
await go('Train')
await page.getByLabel('Learning rate', { exact: true }).fill('7')
await page.getByLabel('Learning rate', { exact: true }).blur()
await shoot('train-error')
await page.getByLabel('Learning rate', { exact: true }).fill('0.002')
await page.getByText('Advanced', { exact: true }).click()
await page.getByText('Length and schedule', { exact: true }).click()
await page.getByLabel('Steps', { exact: true }).fill('120')
await page.getByRole('button', { name: 'Start training' }).click()
await shoot('train-starting')
await page.waitForFunction(
  () => /Step [2-9]\d/.test(document.querySelector('[aria-label="Training status"]')?.textContent ?? ''),
  undefined,
  { timeout: 300_000 },
)
await all('busy', ['Train', 'Model', 'Try', 'Runs'])
await go('Train')
await page.waitForFunction(
  () => /Done/.test(document.querySelector('[aria-label="Training status"]')?.textContent ?? ''),
  undefined,
  { timeout: 600_000 },
)
console.log(await status.textContent())
await go('Try')
await page.getByRole('textbox', { name: 'Prompt' }).fill('Who are you?')
await page.getByRole('button', { name: 'Generate' }).click()
await shoot('try-busy-streaming')
await page.getByRole('button', { name: 'Generate' }).waitFor({ timeout: 120_000 })
await all('finished')
await go('Train')
await page.getByRole('button', { name: 'Would prompting do?' }).click()
await page.getByRole('region', { name: 'Answers with and without examples' }).waitFor({ timeout: 120_000 })
await shoot('train-prompted')
await go('Runs')
if (process.argv.includes('--docs')) {
  await go('Train')
  await page.setViewportSize({ width: 1024, height: 1050 })
  await page.emulateMedia({ colorScheme: 'light' })
  await page.screenshot({ path: join(ROOT, 'docs/page.png') })
  await go('Runs')
}
await page.getByRole('table', { name: 'Runs' }).getByRole('link').first().click()
await shoot('runs-one-finished')
await page.getByRole('button', { name: 'Find out' }).first().click()
await shoot('runs-one-judging')
await page.getByText('All scores').first().waitFor({ timeout: 240_000 })
await page.getByText('All scores').first().click()
await page.getByText('Best and worst rows to read').first().click()
await page.getByRole('button', { name: 'Show the layers' }).click()
await page.getByRole('table', { name: 'Change of each layer against its weight' }).waitFor({ timeout: 60_000 })
await shoot('runs-one-judged')
await page.getByRole('button', { name: 'Export' }).first().click()
await page.getByRole('button', { name: 'PEFT adapter' }).click()
await page.getByRole('status', { name: 'Export' }).waitFor({ timeout: 60_000 })
await shoot('runs-export-finished')

await browser.close()
await server.close()
process.exit(0)
