/** Help texts, made from the settings table and the command table. Refuses to hold words of its own about a setting. */
import type { Setting, SettingKey } from '../shared/job'
import { flagOf, SETTINGS } from '../shared/job'
import type { Command, CommandName, Option } from './options'
import { COMMANDS, OPTIONS, SETTING_VALUES } from './options'

const WIDTH = 100
const COLUMN = 30

const RECIPE =
  'Settings that are not given come from a recipe for the model and the data, where it has one; train prints them.'

/** The overview of all commands. */
export function overview(): string {
  return helpOf(Object.keys(COMMANDS) as CommandName[], 'COMMAND')
}

/** The overview of the commands that begin with a word: `data`. */
export function groupHelp(group: string): string {
  const names = (Object.keys(COMMANDS) as CommandName[]).filter((name) => name.startsWith(`${group} `))
  return helpOf(names, `${group} COMMAND`)
}

function helpOf(names: readonly CommandName[], usage: string): string {
  const lines = names.map((name) => entry(name, COMMANDS[name].summary))
  return [
    'Finetab fine-tunes small language models on your own machine.',
    '',
    `Usage: npm run -s finetab -- ${usage} [flags]`,
    '',
    ...lines,
    '',
    `Flags of a command: npm run -s finetab -- ${usage} --help`,
    'Exit codes: 0 done, 2 bad input or usage, 130 interrupted after saving a checkpoint, 1 anything else.',
    '',
  ].join('\n')
}

/** A command's usage line and each of its flags with one sentence. */
export function commandHelp(name: CommandName): string {
  const command: Command = COMMANDS[name]
  const needs = command.needs.map((need) =>
    need
      .split('|')
      .map((flag) => (flag === command.operand ? valueOf(flag) : `--${flag} ${valueOf(flag)}`))
      .join(' | '),
  )
  return [
    command.summary,
    '',
    `Usage: npm run -s finetab -- ${name} ${needs.join(' ')} [flags]`,
    '',
    ...command.settings.filter(isPlace).map(settingEntry),
    ...command.options.map((option) => optionEntry(option, OPTIONS[option])),
    ...command.settings.filter((key) => !isPlace(key)).map(settingEntry),
    '',
    ...(name === 'train' ? [RECIPE, ''] : []),
  ].join('\n')
}

/** Settings that say where things are, not how to train: they come first. */
function isPlace(key: SettingKey): boolean {
  return (SETTINGS[key] as Setting).hidden === true
}

function valueOf(flag: string): string {
  if (Object.hasOwn(OPTIONS, flag)) return (OPTIONS[flag as keyof typeof OPTIONS] as Option).value ?? ''
  return SETTING_VALUES[flag as SettingKey] ?? ''
}

function settingEntry(key: SettingKey): string {
  const setting = SETTINGS[key] as Setting
  const flag = flagOf(key)
  if (setting.kind === 'switch')
    return entry(`--${setting.default ? 'no-' : ''}${flag}`, `${setting.label}: ${onOff(setting)}`)
  return entry(`--${flag} ${settingValueName(key, setting)}`, `${setting.help}${fallback(setting)}`)
}

function onOff(setting: Setting): string {
  return `${setting.help} ${setting.default ? 'On' : 'Off'} unless this is given.`
}

function settingValueName(key: SettingKey, setting: Setting): string {
  if (setting.kind === 'choice') return Object.keys(setting.choices).join('|')
  if (setting.kind === 'list') return 'a,b,…'
  return SETTING_VALUES[key] ?? (setting.kind === 'integer' ? 'N' : setting.kind === 'number' ? 'X' : 'TEXT')
}

function fallback(setting: Setting): string {
  if (setting.kind === 'text') return ''
  const value = Array.isArray(setting.default) ? setting.default.join(',') : String(setting.default)
  return ` [${setting.default === 0 && setting.zero ? setting.zero : `default ${value}`}]`
}

function optionEntry(name: string, option: Option): string {
  const value = option.value ? ` ${option.value}` : ''
  return entry(`--${name}${value}`, `${option.help}${option.fallback ? ` [${option.fallback}]` : ''}`)
}

/** A flag and its sentence in two columns, wrapped. */
function entry(left: string, right: string): string {
  const lines = wrap(right, WIDTH - COLUMN)
  const head = `  ${left}`
  const first = head.length < COLUMN ? [head.padEnd(COLUMN) + (lines.shift() ?? '')] : [head]
  return [...first, ...lines.map((line) => ' '.repeat(COLUMN) + line)].join('\n')
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line && line.length + word.length + 1 > width) {
      lines.push(line)
      line = word
    } else line = line ? `${line} ${word}` : word
  }
  if (line) lines.push(line)
  return lines
}
