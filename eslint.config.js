/** Lint rules; the import table below is the architecture: who may import whom. */
import svelte from 'eslint-plugin-svelte'
import globals from 'globals'
import ts from 'typescript-eslint'
import svelteConfig from './svelte.config.js'

const ROOMS = ['shared', 'engine', 'data', 'insight', 'judge', 'storage', 'hub', 'client', 'stores', 'ui', 'cli']

/** Room → rooms it may import. A wrong import fails the build. */
const MAY_IMPORT = {
  shared: [],
  engine: ['shared'],
  data: ['shared', 'engine/tokenizer'],
  insight: ['shared'],
  judge: ['shared', 'engine', 'data', 'insight'],
  storage: ['shared'],
  hub: ['shared', 'storage'],
  client: ['shared'],
  stores: ['client', 'shared', 'insight', 'storage'],
  ui: ['stores', 'shared'],
  cli: ['shared', 'engine', 'data', 'insight', 'judge', 'hub/dataset-file'],
}

/** Packages that belong to one room alone. */
const PACKAGES = {
  '@tensorflow/*': ['engine'],
  comlink: ['client'],
  'idb-keyval': ['storage'],
  uplot: ['ui'],
  '@huggingface/tokenizers': ['engine'],
  '@huggingface/jinja': ['engine'],
}

function restrictions(room) {
  const rooms = ROOMS.filter((other) => other !== room && !MAY_IMPORT[room].some((may) => may.split('/')[0] === other))
  const patterns = rooms.map((other) => ({
    regex: `^(\\.\\./)+${other}(/|$)`,
    message: `src/${room} may not import src/${other}: see "Where things live" in CONTRIBUTING.md.`,
  }))
  for (const may of MAY_IMPORT[room].filter((entry) => entry.includes('/'))) {
    const [other, part] = may.split('/')
    patterns.push({ regex: `^(\\.\\./)+${other}/(?!${part}(/|$))`, message: `src/${room} may import only src/${may}.` })
  }
  for (const [name, owners] of Object.entries(PACKAGES)) {
    if (!owners.includes(room))
      patterns.push({ group: [name], message: `${name} belongs to src/${owners.join(', src/')}.` })
  }
  return patterns
}

export default ts.config(
  { ignores: ['dist', 'node_modules', '.venv', '.pretrain', '.cache', 'screens', 'test-results', 'public'] },
  ...ts.configs.recommended,
  ...svelte.configs.recommended,
  { languageOptions: { globals: { ...globals.browser, ...globals.node } } },
  {
    files: ['**/*.svelte', '**/*.svelte.ts'],
    languageOptions: { parserOptions: { parser: ts.parser, extraFileExtensions: ['.svelte'], svelteConfig } },
  },
  {
    rules: {
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      'no-console': 'error',
      eqeqeq: 'error',
    },
  },
  { files: ['scripts/**', 'src/cli/**', 'tests/**'], rules: { 'no-console': 'off' } },
  ...ROOMS.map((room) => ({
    files: [`src/${room}/**/*.{ts,svelte}`],
    rules: { 'no-restricted-imports': ['error', { patterns: restrictions(room) }] },
  })),
)
