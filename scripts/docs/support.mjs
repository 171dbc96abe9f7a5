/**
 * The README's support table, made from the tests: a family has a tick where a named test runs on a golden model of it. Refuses ticks that no
 * test stands behind, since it makes them all.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const START = '<!-- made by npm run docs from the tests -->'
const END = '<!-- end -->'

/** The README with its table made anew. */
export function withSupport(readme, root) {
  const [from, to] = [readme.indexOf(START), readme.indexOf(END)]
  if (from < 0 || to < from) throw new Error(`README.md has no place for the support table: ${START} … ${END}`)
  return `${readme.slice(0, from + START.length)}\n\n${supportTable(root)}\n${readme.slice(to)}`
}

function supportTable(root) {
  const read = (path) => readFileSync(join(root, path), 'utf8')
  const golden = readdirSync(join(root, 'tests/golden')).filter((name) =>
    existsSync(join(root, 'tests/golden', name, 'model.safetensors')),
  )
  const familyOf = (name) => JSON.parse(read(`tests/golden/${name}/config.json`)).model_type
  const families = [...new Set(golden.map(familyOf))].sort()
  const columns = columnsOf(read, golden)
  const rows = families.map((family) => {
    const own = golden.filter((name) => familyOf(name) === family)
    const ticks = columns.map(({ names }) => (own.some((name) => names.has(name)) ? '✓' : ''))
    return `| ${[`\`${family}\``, ...ticks].join(' | ')} |`
  })
  const head = ['`model_type`', ...columns.map(({ title }) => title)]
  const where = columns.map(({ title, test }) => `${title}: ${test}`)
  return [`| ${head.join(' | ')} |`, `|${' --- |'.repeat(head.length)}`, ...rows, '', `${where.join('; ')}.`, ''].join(
    '\n',
  )
}

/** Each column with the test behind it and the golden models that the test runs on. */
function columnsOf(read, golden) {
  const engine = read('tests/engine/golden.test.ts')
  const cases = namesIn(/const CASES = \[([^\]]*)\]/.exec(engine)?.[1] ?? '', golden)
  const runs = JSON.parse(read('tests/golden/quantised-runs.json'))
  const check = read('tests/conformance/formats_check.py')
  // formats.ts writes every golden model, formats_check.py runs each of its checks on every one.
  const every = (title) => new Set(check.includes(`{name}: ${title}`) ? golden : [])
  const gguf = read('tests/engine/gguf-models.test.ts')
  const holds = (text, test) => (text.includes(test) ? cases : new Set())
  return [
    {
      title: 'load',
      test: '“gives the logits of transformers”',
      names: holds(engine, 'gives the logits of transformers'),
    },
    {
      title: 'train',
      test: '“trains to the same losses and norms”',
      names: holds(engine, 'trains to the same losses and norms'),
    },
    {
      title: 'nf4',
      test: '“trains to the same losses and norms” (tests/engine/quantised.test.ts)',
      names: new Set(runs.filter(({ mode }) => mode === 'nf4').map(({ case: name }) => name)),
    },
    { title: 'PEFT', test: '“PEFT folder”', names: every('PEFT folder') },
    { title: 'merged', test: '“merged folder”', names: every('merged folder') },
    { title: 'GGUF', test: '“GGUF …”', names: every('GGUF {kind}') },
    { title: 'GGUF LoRA', test: '“GGUF LoRA”', names: every('GGUF LoRA') },
    { title: 'from GGUF', test: 'tests/engine/gguf-models.test.ts', names: namesIn(gguf, golden) },
  ]
}

function namesIn(text, golden) {
  return new Set(golden.filter((name) => text.includes(`'${name}'`)))
}
