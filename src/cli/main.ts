/** The command line's entry: runs one command and turns what happens into an exit code. Refuses to know any command's work. */
import { CodedError, describeError, ERROR_CODES, toReport } from '../shared/errors'
import type { Invocation } from './flags'
import { parseArguments } from './flags'
import { commandHelp, groupHelp, overview } from './help'
import { Interrupt, INTERRUPTED } from './interrupt'
import type { CommandName } from './options'
import { Output } from './output'
import type { CommandContext } from './context'

/** Each command's module is loaded only when it is run, so that `--help` and mistakes answer at once. */
const RUN: Record<CommandName, (context: CommandContext) => Promise<number>> = {
  train: async (context) => (await import('./commands/train')).train(context),
  generate: async (context) => (await import('./commands/generate')).generate(context),
  rehearse: async (context) => (await import('./commands/rehearse')).rehearse(context),
  evaluate: async (context) => (await import('./commands/evaluate')).evaluate(context),
  export: async (context) => (await import('./commands/export')).exportAdapter(context),
  handoff: async (context) => (await import('./commands/handoff')).handoff(context),
  inspect: async (context) => (await import('./commands/inspect')).inspect(context),
  'data inspect': async (context) => (await import('./commands/data-inspect')).dataInspect(context),
  'data audit': async (context) => (await import('./commands/data-audit')).dataAudit(context),
  'data convert': async (context) => (await import('./commands/data-convert')).dataConvert(context),
  'data split': async (context) => (await import('./commands/data-split')).dataSplit(context),
}

/** Runs a command line and ends the process: 0 done, 2 bad input or usage, 130 interrupted, 1 anything else. */
export async function main(argv: readonly string[]): Promise<never> {
  // A reader that went away (`| head`) is no error of ours.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))
  const output = new Output(argv.includes('--json'))
  const code = await execute(argv, output, new Interrupt(output))
  await drained(process.stdout)
  await drained(process.stderr)
  // Drivers and worker threads may keep handles open; the work is done and written.
  process.exit(code)
}

/** Runs a command line and says how it ended; whatever goes wrong is written to the output. */
export async function execute(argv: readonly string[], output: Output, interrupt: Interrupt): Promise<number> {
  try {
    return await run(parseArguments(argv), output, interrupt)
  } catch (error) {
    output.endBar()
    return interrupt.requested && isCancelled(error) ? INTERRUPTED : fail(error, output)
  }
}

async function run(invocation: Invocation, output: Output, interrupt: Interrupt): Promise<number> {
  if (invocation.help) {
    const { command, group } = invocation
    process.stdout.write(command ? commandHelp(command) : group ? groupHelp(group) : overview())
    return 0
  }
  const { command, options, given } = invocation
  return RUN[command]({ options, given, output, interrupt })
}

/** No person's mistake: the trace is for whoever mends it. */
const INTERNAL_FIX =
  'This is a fault of Finetab; checkpoints that were written are kept. Run it again with FINETAB_TRACE=1 and report what it prints.'

function fail(error: unknown, output: Output): number {
  const found = toReport(error)
  const report = found.code === 'internal' ? { ...found, fix: INTERNAL_FIX } : found
  output.warn(`error ${report.code}: ${describeError(report)}`)
  if (report.code === 'internal' && process.env.FINETAB_TRACE && error instanceof Error) output.warn(error.stack ?? '')
  output.event('error', { ...report })
  return ERROR_CODES[report.code]
}

function isCancelled(error: unknown): boolean {
  return (error instanceof CodedError && error.code === 'cancelled') || (error as Error | null)?.name === 'AbortError'
}

function drained(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => stream.write('', () => resolve()))
}
