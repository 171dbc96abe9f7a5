/** `node --import tsx tests/bench/node.ts TASK`: runs a task, given as JSON. */
import { runInNode } from './run-in-node'

await runInNode(process.argv[2] ?? '{}')
process.exit(0)
