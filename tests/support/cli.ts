/** The command line inside this process: its exit code and what it wrote. Refuses to mock anything of it. */
import { Interrupt } from '../../src/cli/interrupt'
import { execute } from '../../src/cli/main'
import type { Streams } from '../../src/cli/output'
import { Output } from '../../src/cli/output'

type CliEvent = Record<string, unknown> & { event: string }

// One for all: it listens for signals of this process.
const quiet = { write: () => true }
const interrupt = new Interrupt(new Output(true, { stdout: quiet, stderr: quiet } as unknown as Streams))

/** Runs a command with `--json`. */
export async function runCli(
  ...argv: readonly string[]
): Promise<{ code: number; events: CliEvent[]; stderr: string }> {
  const written = { stdout: '', stderr: '' }
  const stream = (name: 'stdout' | 'stderr') => ({ write: (text: string) => (written[name] += text) !== '' })
  const output = new Output(true, { stdout: stream('stdout'), stderr: stream('stderr') } as unknown as Streams)
  const code = await execute([...argv, '--json'], output, interrupt)
  const lines = written.stdout.split('\n').filter(Boolean)
  return { code, events: lines.map((line) => JSON.parse(line) as CliEvent), stderr: written.stderr }
}
