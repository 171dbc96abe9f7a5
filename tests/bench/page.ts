/** One contestant in this page, named by the address: ?peer=finetab&shape=tiny&steps=8; leaves its result on `window.benchResult`. */
import { openDevice } from '../../src/engine'
import { contest, type Peer } from './contest'
import type { BenchResult } from './shapes'
import { SHAPES } from './shapes'

declare global {
  interface Window {
    benchResult?: BenchResult | { error: string }
  }
}

const query = new URLSearchParams(location.search)
const shape = SHAPES[query.get('shape') ?? 'tiny']

async function run(): Promise<BenchResult> {
  if (!shape) throw new Error(`no shape ${query.get('shape')}`)
  await openDevice('webgpu')
  return contest(query.get('peer') as Peer, 'webgpu', shape, Number(query.get('steps') ?? 8))
}

window.benchResult = await run().catch((error: unknown) => ({ error: String(error) }))
