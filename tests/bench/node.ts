/** One contestant in this Node process: `node --import tsx tests/bench/node.ts PEER SHAPE STEPS`, on wasm; prints JSON. */
import { openDevice } from '../../src/engine'
import { contest, type Peer } from './contest'
import { SHAPES } from './shapes'

const [peer, shape, steps] = process.argv.slice(2)
const chosen = SHAPES[shape ?? '']
if (!peer || !chosen) throw new Error(`usage: node.ts finetab|tape|jax ${Object.keys(SHAPES).join('|')} STEPS`)
await openDevice('wasm')
console.log(JSON.stringify(await contest(peer as Peer, 'wasm', chosen, Number(steps ?? 8))))
process.exit(0)
