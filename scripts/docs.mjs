/** `npm run docs`: writes docs/settings.md from the settings table, docs/methods.md, the table of docs/precision.md, and the README's support table from the tests. With --check it only compares, and fails on a difference. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { format } from 'prettier'
import { tsImport } from 'tsx/esm/api'
import { methodsPage } from './docs/methods.mjs'
import { withPrecision } from './docs/precision.mjs'
import { withSupport } from './docs/support.mjs'
import { ROOT } from './setup.mjs'

const { SETTINGS, SETTING_LIST, flagOf } = await tsImport('../src/shared/job.ts', import.meta.url)
const { TOLERANCES } = await tsImport('../tests/support/precision.ts', import.meta.url)

function value(setting) {
  if (setting.kind === 'list') return setting.default.map((item) => `\`${item}\``).join(', ')
  if (setting.default === 0 && setting.zero) return setting.zero
  return setting.default === '' ? '' : `\`${setting.default}\`${setting.unit ? ` ${setting.unit}` : ''}`
}

/** "Only with schedule cosine or linear." */
function condition({ when }) {
  const parts = Object.entries(when ?? {}).map(
    ([key, values]) => `${SETTINGS[key].label.toLowerCase()} \`${values.join('`, `')}\``,
  )
  return parts.length > 0 ? ` Only with ${parts.join(' and ')}.` : ''
}

const groups = Map.groupBy
  ? Map.groupBy(SETTING_LIST, ([, setting]) => setting.group)
  : SETTING_LIST.reduce((map, entry) => map.set(entry[1].group, [...(map.get(entry[1].group) ?? []), entry]), new Map())

let text =
  '# Settings\n\nMade by `npm run docs` from `src/shared/job.ts`; the form, the command line and this page say the same.\n'
for (const [group, entries] of groups) {
  text += `\n## ${group[0].toUpperCase()}${group.slice(1)}\n\n| setting | flag | default | what it does | too low | too high |\n| --- | --- | --- | --- | --- | --- |\n`
  for (const [key, setting] of entries) {
    const flag = `--${setting.kind === 'switch' && setting.default ? 'no-' : ''}${flagOf(key)}`
    text += `| ${setting.label} | \`${flag}\` | ${value(setting)} | ${setting.help}${condition(setting)} | ${setting.tooLow ?? ''} | ${setting.tooHigh ?? ''} |\n`
  }
}
text = await format(text, { parser: 'markdown', printWidth: 120 })

const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
const precision = withPrecision(readFileSync(join(ROOT, 'docs/precision.md'), 'utf8'), ROOT, { SETTINGS, TOLERANCES })
const pages = {
  'docs/settings.md': text,
  'docs/methods.md': await format(methodsPage(ROOT, { SETTINGS, flagOf }), { parser: 'markdown', printWidth: 120 }),
  'docs/precision.md': await format(precision, { parser: 'markdown', printWidth: 120 }),
  'README.md': await format(withSupport(readme, ROOT), { parser: 'markdown', printWidth: 120 }),
}
for (const [path, wanted] of Object.entries(pages)) {
  if (!process.argv.includes('--check')) writeFileSync(join(ROOT, path), wanted)
  else if (readFileSync(join(ROOT, path), 'utf8') !== wanted) {
    console.error(`${path} is behind the settings table or the tests: run npm run docs.`)
    process.exit(1)
  }
}
