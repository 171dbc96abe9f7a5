/**
 * The table of docs/precision.md, made from the constants that the tests compare with. Refuses rows whose test does not use them.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const START = '<!-- made by npm run docs from tests/support/precision.ts -->'
const END = '<!-- end -->'

/** The page with its table made anew. */
export function withPrecision(page, root, { SETTINGS, TOLERANCES }) {
  const [from, to] = [page.indexOf(START), page.indexOf(END)]
  if (from < 0 || to < from) throw new Error(`docs/precision.md has no place for its table: ${START} … ${END}`)
  const head = ['base weights', 'arithmetic', 'first loss', 'later losses', 'gradient norm', 'gradients', 'held by']
  const rows = Object.keys(SETTINGS.quantization.choices).flatMap((weights) =>
    Object.keys(SETTINGS.arithmetic.choices).map((arithmetic) => {
      const { firstLoss, loss, norm, gradient, test } = TOLERANCES[weights][arithmetic]
      const path = `tests/engine/${test}`
      if (!readFileSync(join(root, path), 'utf8').includes('TOLERANCES')) throw new Error(`${path} uses no tolerances.`)
      const name = weights === 'none' ? 'f32' : weights
      return [name, arithmetic, firstLoss, loss, norm, gradient, path].map(shown)
    }),
  )
  const table = [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`)
  return `${page.slice(0, from + START.length)}\n\n${table.join('\n')}\n\n${page.slice(to)}`
}

const shown = (cell) => (typeof cell === 'number' ? cell.toExponential() : `\`${cell}\``)
