/** A messy file in a person's hands: see what is wrong, mend it, take a repair back, train on what is left. */
import { expect, test } from '@playwright/test'
import { COMMIT, startHub, TOKEN } from '../support/hub-server'
import { go, set, status, writeFile } from './support'

function messyCsv(): string {
  const things = ['the sea', 'a cat', 'the moon', 'a hat', 'rain', 'bread']
  const asks = ['What is', 'Describe', 'Where is']
  const rows = asks.flatMap((ask) =>
    things.map((thing) => [`${ask} ${thing}?`, `Well, ${thing} is a fine and quiet thing.`]),
  )
  rows.push(rows[0] as string[], rows[1] as string[])
  rows.push(['What is rain?', 'Nobody knows.'], ['Who do I write to?', 'To anna.schmidt@example.org.'], ['Empty?', ''])
  return `prompt,completion\n${rows.map((row) => row.map((text) => `"${text}"`).join(',')).join('\n')}\n`
}

test('a messy file is looked through, mended step by step, and trained on', async ({ page }) => {
  await page.goto('./')
  await go(page, 'Data')
  await page.getByLabel('Dataset file').setInputFiles(writeFile('messy.csv', messyCsv()))
  const findings = page.getByRole('list', { name: 'Findings' })
  for (const says of [/repeat another word for word/, /contradicts? another/, /holds? personal data/, /cannot be used/])
    await expect(findings.getByText(says)).toBeVisible()

  await findings.getByRole('button', { name: /^Show: .*personal data/ }).click()
  const rows = page.getByRole('region', { name: 'Table of rows' })
  await expect(rows.getByRole('button')).toHaveCount(1)
  await expect(rows).toContainText('anna.schmidt')

  const steps = page.getByRole('list', { name: 'Steps' })
  const mend = async (name: RegExp, count: number) => {
    await findings.getByRole('button', { name }).click()
    await expect(steps.getByRole('listitem')).toHaveCount(count)
  }
  await mend(/^Keep one of each: .*word for word/, 1)
  await mend(/^Mask it/, 2)
  await mend(/^Keep the first answer/, 3)
  await expect(findings.getByText(/word for word/)).toHaveCount(0)
  await page.getByRole('button', { name: 'Undo', exact: true }).last().click()
  await expect(steps.getByRole('listitem')).toHaveCount(2)
  await expect(findings.getByText(/contradicts? another/)).toBeVisible()

  await page.reload()
  await expect(steps.getByRole('listitem')).toHaveCount(2)
  await go(page, 'Train')
  await set(page, 'Steps', '3')
  await page.getByRole('button', { name: 'Start training' }).click()
  await expect(status(page)).toContainText('Done', { timeout: 240_000 })
})

test('the model writes variations of a row, and only what is accepted joins the rows', async ({ page }) => {
  await page.goto('./')
  await go(page, 'Data')
  await page.getByRole('button', { name: 'Use this sample' }).first().click()
  const table = page.getByRole('region', { name: 'Table of rows' })
  await table.getByRole('button', { name: 'Open row 3' }).click()
  await page.getByRole('button', { name: 'Variations' }).click()
  const dialog = page.getByRole('dialog', { name: 'Variations of row 3' })
  await expect(dialog).toContainText('seldom write a row worth learning from')
  await dialog.getByLabel('What is new').selectOption('the answer')
  await dialog.getByLabel('How many').selectOption('3')
  await dialog.getByRole('button', { name: 'Write variations' }).click()
  const written = dialog.getByRole('list', { name: 'Variations' }).getByRole('listitem')
  await expect(dialog.getByRole('button', { name: 'Write more' })).toBeVisible({ timeout: 120_000 })
  await expect(written).not.toHaveCount(0)
  const count = await written.count()
  await written.first().getByRole('textbox').fill('Aye, Captain: this way.')
  await written.first().getByRole('button', { name: 'Accept' }).click()
  await expect(written.first()).toContainText('accepted')
  if (count > 1) await written.nth(1).getByRole('button', { name: 'Discard' }).click()
  await expect(written).toHaveCount(Math.max(1, count - 1))
  await dialog.getByRole('button', { name: 'Close' }).click()

  const steps = page.getByRole('list', { name: 'Steps' }).getByRole('listitem')
  await expect(steps).toHaveCount(1)
  await expect(steps).toContainText('Accepted a variation of row 3 of the file, written by Stories 3M')
  await page.getByRole('searchbox', { name: 'Search the rows' }).fill('captain: this')
  const found = table.getByRole('button')
  await expect(found).toHaveCount(1)
  await expect(found).toContainText('Aye, Captain: this way.')
  await expect(found).toContainText(/variation of row 3|another answer/)
})

test('validation rows that are trained on are left out of either side with one click', async ({ page }) => {
  const row = (thing: string) => ({ prompt: `Where is the ${thing} kept?`, completion: `In the box for ${thing}.` })
  const things = ['lamp', 'rope', 'coat', 'salt', 'map', 'bell', 'drum', 'kite', 'sock', 'coin', 'harp', 'vase']
  const lines = (some: string[]) => some.map((thing) => JSON.stringify(row(thing))).join('\n')
  await page.goto('./')
  await go(page, 'Data')
  const file = page.getByLabel('Dataset file')
  await file.setInputFiles(writeFile('held.jsonl', lines(['lamp', 'rope', 'moon', 'owl'])))
  await expect(page.getByRole('list', { name: 'Chosen' })).toContainText('held')
  await file.setInputFiles(writeFile('things.jsonl', lines(things)))
  await expect(page.getByRole('list', { name: 'Chosen' })).toContainText('12 rows')
  await page.getByLabel('Validation comes from').selectOption('held (4 rows)')
  const findings = page.getByRole('list', { name: 'Findings' })
  const leak = findings.getByRole('listitem').filter({ hasText: '2 validation rows are also trained on' })
  await leak.getByRole('button', { name: /^Show/ }).click()
  await expect(page.getByRole('region', { name: 'Table of rows' }).getByRole('button')).toHaveCount(2)

  await leak.getByRole('button', { name: 'Leave them out of training' }).click()
  await expect(page.getByRole('list', { name: 'Steps' })).toContainText('Left out rows that held has too')
  await expect(page.getByRole('list', { name: 'Chosen' })).toContainText('10 rows')
  await expect(leak).toHaveCount(0)
  await page.getByRole('button', { name: 'Undo', exact: true }).last().click()
  await leak.getByRole('button', { name: 'Leave them out of validation' }).click()
  await expect(leak).toHaveCount(0)
  await expect(page.getByRole('list', { name: 'Chosen' })).toContainText('12 rows')
  await page.getByText(/^Others/).click()
  await page.getByRole('listitem').filter({ hasText: 'held' }).getByRole('button', { name: 'Use this' }).click()
  await expect(page.getByRole('list', { name: 'Chosen' })).toContainText('2 rows')
  await expect(page.getByRole('list', { name: 'Steps' })).toContainText('Left out rows that things has too')
})

test('other datasets and general text are mixed in with shares, checked, trained on and kept with the run', async ({
  page,
}) => {
  const rows = (word: string, many: number) =>
    Array.from({ length: many }, (_, i) => JSON.stringify({ prompt: `Say ${word} ${i}.`, completion: `${word} ${i}!` }))
  await page.goto('./')
  await go(page, 'Data')
  const file = page.getByLabel('Dataset file')
  await file.setInputFiles(writeFile('ping.jsonl', rows('ping', 30).join('\n')))
  await expect(page.getByRole('list', { name: 'Chosen' })).toContainText('30 rows')
  await file.setInputFiles(writeFile('pong.jsonl', rows('pong', 20).join('\n')))
  await expect(page.getByRole('list', { name: 'Chosen' })).toContainText('20 rows')
  await page.getByText(/^Mixing:/).click()
  await page.getByRole('button', { name: 'Mix in a dataset' }).click()
  await page.getByLabel('Dataset 1 to mix in').selectOption('ping')
  const share = page.getByLabel('Share of ping in every pass, in percent')
  await share.fill('60')
  await share.blur()
  const pass = page.getByRole('status', { name: 'One pass' })
  await expect(pass).toContainText('18 rows of pong (40%), about 27 of ping (60%)')
  await page.getByLabel('General text share').fill('0.5')
  await expect(page.getByRole('alert')).toContainText('takes 110% of every pass')
  await go(page, 'Train')
  await expect(page.getByRole('button', { name: 'Start training' })).toBeDisabled()
  await go(page, 'Data')
  await page.getByText(/^Mixing:/).click()
  await page.getByLabel('General text share').fill('0.2')
  await page.getByLabel('General text', { exact: true }).selectOption("Ship's computer")
  await expect(pass).toContainText("18 rows of pong (20%), about 54 of ping (60%), about 18 of Ship's computer (20%)")

  await go(page, 'Train')
  await set(page, 'Steps', '2')
  await page.getByRole('button', { name: 'Start training' }).click()
  await expect(status(page)).toContainText('Done', { timeout: 240_000 })
  await go(page, 'Runs')
  await page.getByRole('table', { name: 'Runs' }).getByRole('link').first().click()
  await expect(page.getByRole('main')).toContainText('ping 60%')
  await expect(page.getByRole('main')).toContainText("General text Ship's computer")
})

test('a gated file comes from a link with a token, which goes to no other host', async ({ page }) => {
  const lines = Array.from({ length: 40 }, (_, i) => JSON.stringify({ prompt: `p${i}`, completion: `c${i}` }))
  const hub = await startHub({ 'stored-train.jsonl': new TextEncoder().encode(lines.join('\n')) })
  hub.gated = true
  const address = `${hub.endpoint}/me/tiny/resolve/${COMMIT}/stored-train.jsonl`
  await page.goto('./')
  await go(page, 'Data')
  await page.getByRole('button', { name: 'Paste text' }).click()
  await page.getByLabel('Pasted examples').fill(address)
  await page.getByRole('button', { name: 'Add these' }).click()
  const alert = page.getByRole('alert')
  await expect(alert).toContainText('This dataset is gated: its files need an access token.')
  await expect(page.getByLabel('Address of a file')).toHaveValue(address)
  await page.getByLabel('Access token').fill('hf_wrong')
  await page.getByRole('button', { name: 'Add this file' }).click()
  await expect(alert).toContainText('the account of this token has not been given access')
  await page.getByLabel('Access token').fill(TOKEN)
  await page.getByRole('button', { name: 'Add this file' }).click()
  await expect(page.getByRole('list', { name: 'Chosen' })).toContainText('40 rows')
  const sent = (host: string) => hub.asked.filter((one) => one.host === host).map((one) => one.authorization)
  expect(sent('hub')).toContain(`Bearer ${TOKEN}`)
  expect(new Set(sent('store'))).toEqual(new Set(['']))
  const kept = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }))
  expect(kept).not.toContain(TOKEN)
  await hub.close()
})
