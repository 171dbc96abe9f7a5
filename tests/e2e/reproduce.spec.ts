/** A run of the page, repeated by the command line from the job file that the page saves: the same losses. */
import { execFile } from 'node:child_process'
import { copyFileSync, mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from '@playwright/test'
import { bringData, datasetFile, go, losses, set, status } from './support'

const ROOT = resolve(import.meta.dirname, '../..')

test('a job file repeats a run of the page on the command line', async ({ page }) => {
  const file = datasetFile()
  await page.goto('./')
  await bringData(page, file)
  await go(page, 'Train')
  await set(page, 'Steps', '6')
  await set(page, 'Batch size', '2')
  await set(page, 'Learning rate', '0.004')
  await set(page, 'LoRA dropout', '0.1')
  await set(page, 'Evaluate every', '3')
  await set(page, 'Sample length', '0')
  await set(page, 'Runs on', 'wasm')
  await page.getByRole('button', { name: 'Start training' }).click()
  await expect(status(page)).toContainText('Done', { timeout: 250_000 })
  await go(page, 'Runs')
  await page.getByRole('table', { name: 'Runs' }).getByRole('link').first().click()
  const onPage = await losses(page)

  const folder = mkdtempSync(join(tmpdir(), 'finetab-job-'))
  const download = page.waitForEvent('download')
  await page.getByRole('button', { name: 'Save job file' }).click()
  const job = join(folder, 'job.json')
  await (await download).saveAs(job)
  copyFileSync(
    file,
    join(folder, (JSON.parse(readFileSync(job, 'utf8')) as { dataset: { file: string } }).dataset.file),
  )
  const command = [join(ROOT, 'scripts/finetab.mjs'), 'train', '--job', job, '--out', join(folder, 'out'), '--json']
  const { stdout } = await promisify(execFile)(process.execPath, command, { maxBuffer: 1 << 26 })
  const events = stdout.trim().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>) // prettier-ignore
  expect(events.find(({ event }) => event === 'rows')).toMatchObject({ same: true })

  const pageSteps = onPage.map((row) => row.split(' ').map(Number)).filter(([, loss]) => loss)
  const steps = events.filter(({ event }) => event === 'step')
  expect(steps.length).toBe(6)
  expect(pageSteps.length).toBe(6)
  const differences = steps.map(({ loss }, i) => Math.abs(Number(loss) - (pageSteps[i]?.[1] ?? Number.NaN)))
  console.log(`largest difference of a loss: ${Math.max(...differences)}`)
  expect(Math.max(...differences)).toBeLessThanOrEqual(TOLERANCE)
  const evals = events.filter(({ event }) => event === 'eval').map(({ eval_loss }) => Number(eval_loss))
  const pageEvals = onPage.map((row) => Number(row.split(' ')[2])).filter(Boolean)
  expect(evals.length).toBe(pageEvals.length)
  evals.forEach((loss, i) => expect(Math.abs(loss - (pageEvals[i] ?? Number.NaN))).toBeLessThanOrEqual(TOLERANCE))
})

/** Both run the same WebAssembly, whose products come out the same however many threads share them. */
const TOLERANCE = 0
