/**
 * Arguments to a command, its options and the settings that the person gave. Refuses flags that the command does not take,
 * naming those that are near.
 */
import { CodedError } from '../shared/errors'
import type { Setting, SettingKey } from '../shared/job'
import { checkSetting, flagOf, parseSetting, SETTINGS } from '../shared/job'
import { nearest } from '../shared/nearest'
import type { Command, CommandName, Option, OptionName } from './options'
import { COMMANDS, OPTIONS } from './options'

type OptionValue<K extends OptionName> = (typeof OPTIONS)[K]['kind'] extends infer T
  ? T extends 'switch'
    ? boolean
    : T extends 'integer' | 'number'
      ? number
      : T extends 'texts'
        ? string[]
        : string
  : never
export type Options = { [K in OptionName]?: OptionValue<K> }
export type Given = Partial<Record<SettingKey, unknown>>

export type Invocation =
  | { command: CommandName; help: false; options: Options; given: Given }
  | { command: CommandName | null; group?: string; help: true }

type Target = { key: SettingKey; negated: boolean } | { option: OptionName }

/**
 * Parses what stands after the program's name.
 * @throws CodedError `usage`.
 */
export function parseArguments(argv: readonly string[]): Invocation {
  const [first, ...after] = argv
  if (first === undefined || first === '--help' || first === '-h') return { command: null, help: true }
  if (first === 'help') return parseArguments([...after, '--help'])
  const grouped = isGroup(first)
  const [second] = after
  if (grouped && (second === undefined || second === '--help' || second === '-h')) {
    return { command: null, group: first, help: true }
  }
  const command = commandName(grouped ? `${first} ${second}` : first)
  const rest = grouped ? after.slice(1) : after
  if (rest.includes('--help') || rest.includes('-h')) return { command, help: true }
  return { command, help: false, ...parseFlags(command, rest) }
}

/** Refuses a command line that lacks what its command cannot do without; a job file may have given it. */
export function requireFlags(command: CommandName, present: ReadonlySet<string>): void {
  const missing = COMMANDS[command].needs.filter((need) => !need.split('|').some((name) => present.has(name)))
  if (missing.length === 0) return
  const names = missing.map((need) => need.split('|').map((name) => `--${name}`))
  throw usage(command, `${command} needs ${names.map((all) => all.join(' or ')).join(' and ')}.`, '')
}

/** Whether a word is the first of commands of two words: `data`. */
function isGroup(word: string): boolean {
  return Object.keys(COMMANDS).some((name) => name.startsWith(`${word} `))
}

function commandName(text: string): CommandName {
  if (Object.hasOwn(COMMANDS, text)) return text as CommandName
  const names = Object.keys(COMMANDS)
  if (text.startsWith('-')) {
    throw new CodedError('usage', 'The first word must be a command.', {
      where: text,
      fix: `Use one of ${names.join(', ')}.`,
    })
  }
  throw new CodedError('usage', `There is no command "${text}".`, { fix: suggestion(nearest(text, names), names) })
}

function parseFlags(command: CommandName, argv: readonly string[]): { options: Options; given: Given } {
  const targets = flagTargets(COMMANDS[command])
  const options: Record<string, unknown> = {}
  const given: Given = {}
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i] as string
    const { operand } = COMMANDS[command] as Command
    if (!argument.startsWith('--') && operand && options[operand] === undefined) {
      options[operand] = argument
      continue
    }
    if (!argument.startsWith('--')) {
      throw usage(command, `"${argument}" stands alone, without a flag before it.`, argument)
    }
    const equals = argument.indexOf('=')
    const flag = equals < 0 ? argument.slice(2) : argument.slice(2, equals)
    const target = targets.get(flag)
    if (!target) throw unknownFlag(command, flag, [...targets.keys()])
    const inline = equals < 0 ? undefined : argument.slice(equals + 1)
    const take = (): string => {
      const value = inline ?? argv[++i]
      const isFlag = inline === undefined && value?.startsWith('--') && targets.has(value.slice(2))
      if (value === undefined || isFlag) throw usage(command, `--${flag} needs a value.`, `--${flag}`)
      return value
    }
    if ('option' in target) takeOption(command, target.option, flag, inline, take, options)
    else given[target.key] = settingValue(command, target, flag, inline, take)
  }
  return { options: options as Options, given }
}

/** Every flag of a command with what it sets; a switch that is on by default has a `no-` form. */
function flagTargets(command: Command): Map<string, Target> {
  const targets = new Map<string, Target>()
  for (const key of command.settings) {
    targets.set(flagOf(key), { key, negated: false })
    if (SETTINGS[key].kind === 'switch') targets.set(`no-${flagOf(key)}`, { key, negated: true })
  }
  for (const option of command.options) targets.set(option, { option })
  return targets
}

function settingValue(
  command: CommandName,
  target: { key: SettingKey; negated: boolean },
  flag: string,
  inline: string | undefined,
  take: () => string,
): unknown {
  const setting = SETTINGS[target.key] as Setting
  if (setting.kind === 'switch' && inline === undefined) return !target.negated
  const raw = take()
  if (raw === '' && (target.key === 'model' || target.key === 'data')) {
    throw usage(command, `--${flag} is empty.`, `--${flag} ""`)
  }
  const parsed = parseSetting(target.key, raw)
  const value = target.negated && typeof parsed === 'boolean' ? !parsed : parsed
  const problem = checkSetting(target.key, value)
  if (problem) throw usage(command, problem, `--${flag} ${raw}`)
  return value
}

function takeOption(
  command: CommandName,
  name: OptionName,
  flag: string,
  inline: string | undefined,
  take: () => string,
  options: Record<string, unknown>,
): void {
  const option: Option = OPTIONS[name]
  if (option.kind === 'switch') {
    if (inline !== undefined && inline !== 'true' && inline !== 'false') {
      throw usage(command, `--${flag} takes no value.`, `--${flag}=${inline}`)
    }
    options[name] = inline !== 'false'
    return
  }
  const raw = take()
  // An empty path would be this very folder: most likely a variable that a script did not set.
  if (raw === '' && option.value !== 'TEXT') throw usage(command, `--${flag} is empty.`, `--${flag} ""`)
  if (option.kind === 'text') options[name] = raw
  else if (option.kind === 'texts') options[name] = [...((options[name] as string[] | undefined) ?? []), raw]
  else options[name] = optionNumber(command, option, flag, raw)
}

function optionNumber(command: CommandName, option: Option, flag: string, raw: string): number {
  const value = raw.trim() === '' ? Number.NaN : Number(raw)
  const where = `--${flag} ${raw}`
  if (!Number.isFinite(value)) throw usage(command, `--${flag} must be a number.`, where)
  if (option.kind === 'integer' && !Number.isInteger(value))
    throw usage(command, `--${flag} must be a whole number.`, where)
  const { min = -Infinity, max = Infinity } = option
  if (value < min || value > max) throw usage(command, `--${flag} must be between ${min} and ${max}.`, where)
  return value
}

function unknownFlag(command: CommandName, flag: string, known: readonly string[]): CodedError {
  const near = nearest(flag, known)
  const elsewhere = (Object.keys(COMMANDS) as CommandName[]).filter((name) => flagTargets(COMMANDS[name]).has(flag))
  const what =
    elsewhere.length > 0
      ? `${command} takes no --${flag}; it belongs to ${elsewhere.join(', ')}.`
      : `There is no flag --${flag}.`
  return usage(command, what, `--${flag}`, near.length > 0 ? `Did you mean ${listFlags(near)}?` : '')
}

function usage(command: CommandName, what: string, where: string, hint = ''): CodedError {
  const fix = `${hint ? `${hint} ` : ''}Try: finetab ${command} --help`
  return new CodedError('usage', what, { where, fix })
}

function suggestion(near: readonly string[], all: readonly string[]): string {
  return near.length > 0 ? `Did you mean ${near.join(' or ')}?` : `Use one of ${all.join(', ')}.`
}

function listFlags(names: readonly string[]): string {
  return names.map((name) => `--${name}`).join(' or ')
}
