/** Runs one contestant for some steps and reports losses, times, bytes and dispatches. Refuses to judge. */
import { finetabPeer } from './finetab'
import type { Counts } from './measure'
import { jaxPeer } from './peers/jax'
import { tapePeer } from './peers/tape'
import { stepFlops, type BenchResult, type BenchShape, type Contestant } from './shapes'

export type Peer = 'finetab' | 'tape' | 'jax'

/** Builds a contestant on the backend that TensorFlow.js is set to; jax-js takes its own device of that kind. */
async function contestant(
  peer: Peer,
  backend: 'wasm' | 'webgpu',
  shape: BenchShape,
  counts: Counts,
  spare?: number,
): Promise<Contestant> {
  if (peer === 'finetab') return finetabPeer(shape, counts, spare)
  if (peer === 'tape') return tapePeer(shape)
  return jaxPeer(shape, backend)
}

const inNode = typeof process !== 'undefined' && typeof process.cpuUsage === 'function'

/** ms that the processor has spent on this process; 0 in a page. */
function processorTime(): number {
  if (!inNode) return 0
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/**
 * Trains for `steps` steps; every step's time ends when the device has done all of its work.
 * @param spare see {@link finetabPeer}.
 */
export async function contest(
  peer: Peer,
  backend: 'wasm' | 'webgpu',
  shape: BenchShape,
  steps: number,
  counts: Counts,
  spare?: number,
): Promise<BenchResult> {
  const before = counts.held
  counts.peak = before
  const one = await contestant(peer, backend, shape, counts, spare)
  const losses: number[] = []
  const times: number[] = []
  const processor: number[] = []
  let [dispatches, held] = [0, 0]
  for (let i = 0; i < steps; i++) {
    const [start, spent, earlier] = [performance.now(), processorTime(), counts.dispatches]
    losses.push(await one.step())
    times.push(performance.now() - start)
    processor.push(processorTime() - spent)
    dispatches = counts.dispatches - earlier
    held = Math.max(held, one.bytes() ?? Number.NaN)
  }
  const peakBytes = backend === 'webgpu' ? counts.peak - before : Number.isNaN(held) ? null : held
  const host = one.host?.() ?? null
  one.dispose()
  return {
    peer,
    losses,
    times,
    processor: inNode ? processor : null,
    peakBytes,
    dispatches,
    host,
    flops: stepFlops(shape),
  }
}
