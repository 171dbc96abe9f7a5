/**
 * Runs a Jinja template with a budget: one that loops, recurses or grows without end is stopped. Errors are CodedError
 * `template.invalid` with the line where it is known. Refuses to read files.
 */
import { Environment, Interpreter, parse, tokenize } from '@huggingface/jinja'
import { CodedError } from '../../shared/errors'
import { pythonText } from './template-python'
import { lineOfToken, lineOfUnreadableTag, linesOfNodes, type TemplateNode } from './template-lines'

/** Evaluated nodes, loop turns and grown text (in 256s) that one rendering may cost: some hundred times a long real chat. */
const MAX_COST = 1_500_000
/** A turn of a loop sets up several scopes before its body is looked at. */
const TURN_COST = 10
/** Nested evaluations: loops, macros and expressions inside one another. */
const MAX_DEPTH = 800
/** Characters that any text on the way may have. */
const MAX_TEXT = 8_000_000
/** Longest range(), as in Jinja's own sandbox. */
const MAX_RANGE = 100_000
/** Longest template. */
const MAX_SOURCE = 1_000_000

type Statement = Parameters<Interpreter['evaluate']>[0]
type Value = ReturnType<Interpreter['evaluate']>
type Program = Parameters<Interpreter['run']>[0]

/** A parsed template. */
export class CompiledTemplate {
  private readonly program: Program
  private readonly lines: Map<TemplateNode, number>

  /** Throws CodedError `template.invalid`. */
  constructor(source: string) {
    if (source.length > MAX_SOURCE) throw invalid('it is far too long', null)
    // The library does not know the tag that marks answers; "if true" leaves text and white space as they are.
    const readable = source
      .replace(/(\{%-?\s*)generation(\s*-?%\})/g, '$1if true$2')
      .replace(/(\{%-?\s*)endgeneration(\s*-?%\})/g, '$1endif$2')
    let tokens: ReturnType<typeof tokenize>
    try {
      tokens = tokenize(readable, { lstrip_blocks: true, trim_blocks: true })
    } catch (error) {
      throw invalid(reason(error), lineOfUnreadableTag(source), error)
    }
    let reached = 0
    const watched = new Proxy(tokens, {
      get: (target, key) => {
        const index = typeof key === 'string' ? Number(key) : NaN
        if (index < target.length && index > reached) reached = index
        return Reflect.get(target, key) as unknown
      },
    })
    try {
      this.program = parse(watched)
    } catch (error) {
      const what =
        error instanceof TypeError
          ? 'it ends before all its blocks are closed'
          : error instanceof RangeError
            ? 'it nests too deeply'
            : reason(error)
      throw invalid(what, lineOfToken(source, tokens, reached), error)
    }
    this.lines = linesOfNodes(source, this.program as unknown as TemplateNode)
  }

  /** The text for these variables. Throws CodedError `template.invalid`. */
  render(variables: Record<string, unknown>): string {
    const environment = new Environment()
    for (const [name, value] of Object.entries({ ...GLOBALS, ...variables })) environment.set(name, value)
    const interpreter = new BoundedInterpreter(environment, this.lines)
    try {
      return String(interpreter.run(this.program).value)
    } catch (error) {
      if (error instanceof CodedError) throw error
      const what = error instanceof RangeError ? 'it nests or grows without end' : reason(error)
      throw invalid(what, interpreter.line, error)
    }
  }
}

/** Leaves a loop's body, with the text that it had written so far (which the library's own signal drops). */
class LoopControl extends Error {
  readonly ends: boolean
  written = ''

  constructor(ends: boolean) {
    super('break or continue outside a loop')
    this.ends = ends
  }
}

/** Statements that write nothing themselves. */
const SILENT: readonly string[] = ['Set', 'Macro', 'Comment']

class BoundedInterpreter extends Interpreter {
  /** Line of the innermost tag that was begun when an error came up. */
  line: number | null = null
  private cost = 0
  private depth = 0
  private readonly looped = new WeakSet<object>()
  private readonly loopBodies = new WeakSet<object>()
  private readonly ended = new WeakSet<Environment>()
  private readonly lines: Map<TemplateNode, number>

  constructor(environment: Environment, lines: Map<TemplateNode, number>) {
    super(environment)
    this.lines = lines
    // The library's own way to write a block out is private to its types; ours prints as Python and keeps text before a `continue`.
    Object.defineProperty(this, 'evaluateBlock', { value: this.writeBlock })
  }

  override evaluate(statement: Statement, environment: Environment): Value {
    if (++this.cost > MAX_COST) throw new Error('it takes too many steps: it probably never ends')
    if (++this.depth > MAX_DEPTH) throw new Error('it nests too deeply: it probably calls itself without end')
    const line = statement && this.lines.get(statement as unknown as TemplateNode)
    const outer = this.line
    if (line !== undefined) this.line = line
    const depth = this.depth
    let value: Value
    try {
      value = (statement && this.evaluateOurs(statement, environment)) ?? super.evaluate(statement, environment)
    } catch (error) {
      if (error instanceof LoopControl) {
        this.line = outer
        this.depth = depth - 1
      }
      // Any other error ends the rendering and keeps the line it came from.
      throw error
    }
    if (statement) this.charge(statement, value)
    this.line = outer
    this.depth--
    return value
  }

  /** What the library does not do as Python does. */
  private evaluateOurs(statement: NonNullable<Statement>, environment: Environment): Value | null {
    switch (statement.type) {
      case 'For': {
        const { iterable, body } = statement as unknown as { iterable: { lhs?: object }; body: object }
        this.looped.add(iterable.lhs ?? iterable)
        this.loopBodies.add(body)
        return null
      }
      case 'Break':
      case 'Continue':
        throw new LoopControl(statement.type === 'Break')
      case 'BinaryExpression': {
        const node = statement as unknown as { operator: { value: string }; left: Statement; right: Statement }
        if (node.operator.value !== '~') return null
        const text = [node.left, node.right].map((side) => pythonText(this.evaluate(side, environment))).join('')
        return runtimeValue(text)
      }
      case 'FilterExpression': {
        const node = statement as unknown as { operand: Statement; filter: { type: string; value?: unknown } }
        if (node.filter.type !== 'Identifier') return null
        const name = String(node.filter.value)
        if (name !== 'string' && name !== 'length' && name !== 'count') return null
        const value = this.evaluate(node.operand, environment)
        if (name === 'string') return runtimeValue(pythonText(value))
        if (typeof value.value === 'string') return runtimeValue([...value.value].length)
        if (Array.isArray(value.value)) return runtimeValue(value.value.length)
        if (value.value instanceof Map) return runtimeValue(value.value.size)
        if (value.value === undefined) return runtimeValue(0)
        throw new Error(`a value of type ${value.type} has no length`)
      }
      default:
        return null
    }
  }

  private writeBlock(statements: NonNullable<Statement>[], environment: Environment): Value {
    if (this.ended.has(environment) && this.loopBodies.has(statements)) return runtimeValue('')
    let text = ''
    try {
      for (const statement of statements) {
        const value = this.evaluate(statement, environment)
        if (!SILENT.includes(statement.type)) text += pythonText(value)
        if (text.length > MAX_TEXT) throw new Error('it writes without end')
      }
    } catch (error) {
      if (!(error instanceof LoopControl)) throw error
      error.written = text + error.written
      if (!this.loopBodies.has(statements)) throw error
      // The turns that are left write nothing.
      if (error.ends) this.ended.add(environment)
      return runtimeValue(error.written)
    }
    return runtimeValue(text)
  }

  /** Loops cost steps for every turn even where their body is empty; text and lists that are made cost what they hold. */
  private charge(statement: NonNullable<Statement>, { value }: Value): void {
    const read = statement.type === 'Identifier' || statement.type === 'MemberExpression'
    if (typeof value === 'string') {
      if (value.length > MAX_TEXT) throw new Error('it writes without end')
      if (!read) this.cost += value.length >> 8
    } else {
      const size = Array.isArray(value) ? value.length : value instanceof Map ? value.size : 0
      if (this.looped.has(statement)) this.cost += size * TURN_COST
      else if (!read) this.cost += size
    }
    if (this.cost > MAX_COST) throw new Error('it takes too many steps: it probably never ends')
  }
}

/** A JavaScript value as the library's own; its classes are not exported, its environments convert. */
function runtimeValue(value: string | number): Value {
  return new Environment().set('value', value)
}

const GLOBALS: Record<string, unknown> = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
  range,
  raise_exception: (message: unknown) => {
    throw new Error(`it refuses this chat: ${String(message)}`)
  },
  strftime_now: (format: unknown) => strftime(new Date(), String(format)),
}

function range(first: unknown, second?: unknown, third?: unknown): number[] {
  const [start, stop, step] = second === undefined ? [0, first, 1] : [first, second, third ?? 1]
  if (![start, stop, step].every(Number.isInteger)) throw new Error('range() takes whole numbers')
  const length = Math.max(0, Math.ceil((Number(stop) - Number(start)) / Number(step)))
  if (!(length <= MAX_RANGE)) throw new Error(`range() may have ${MAX_RANGE} numbers at most`)
  return Array.from({ length }, (_, i) => Number(start) + i * Number(step))
}

const MONTHS = 'January February March April May June July August September October November December'.split(' ')
const DAYS = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ')

/** Python's strftime in its C locale; unknown directives stay as they are. */
export function strftime(date: Date, format: string): string {
  const pad = (value: number, width = 2) => String(value).padStart(width, '0')
  const hour12 = date.getHours() % 12 || 12
  const yearStart = new Date(date.getFullYear(), 0, 1)
  const parts: Record<string, () => string> = {
    Y: () => String(date.getFullYear()),
    y: () => pad(date.getFullYear() % 100),
    m: () => pad(date.getMonth() + 1),
    d: () => pad(date.getDate()),
    B: () => MONTHS[date.getMonth()]!,
    b: () => MONTHS[date.getMonth()]!.slice(0, 3),
    A: () => DAYS[date.getDay()]!,
    a: () => DAYS[date.getDay()]!.slice(0, 3),
    H: () => pad(date.getHours()),
    I: () => pad(hour12),
    M: () => pad(date.getMinutes()),
    S: () => pad(date.getSeconds()),
    p: () => (date.getHours() < 12 ? 'AM' : 'PM'),
    j: () => pad(Math.round((new Date(date).setHours(0, 0, 0, 0) - yearStart.getTime()) / 86_400_000) + 1, 3),
    F: () => `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`,
    T: () => `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`,
    '%': () => '%',
  }
  return format.replace(/%(.)/g, (directive, letter: string) => parts[letter]?.() ?? directive)
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function invalid(what: string, line: number | null, cause?: unknown): CodedError {
  return new CodedError('template.invalid', `The chat template cannot be used: ${what.replace(/\.$/, '')}.`, {
    where: line === null ? 'chat template' : `chat template, line ${line}`,
    fix: "Check the chat against the model card, or take the template out of the model's folder to use a plain one.",
    cause,
  })
}
