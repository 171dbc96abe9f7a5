/** Runs one contestant for some steps and reports losses and times. Refuses to judge. */
import { finetabPeer } from './finetab'
import { jaxPeer } from './peers/jax'
import { tapePeer } from './peers/tape'
import type { BenchResult, BenchShape, Contestant } from './shapes'

export type Peer = 'finetab' | 'tape' | 'jax'

/** Builds a contestant on the backend that TensorFlow.js is set to; jax-js takes its own device of that kind. */
async function contestant(peer: Peer, backend: 'wasm' | 'webgpu', shape: BenchShape): Promise<Contestant> {
  if (peer === 'finetab') return finetabPeer(shape)
  if (peer === 'tape') return tapePeer(shape)
  return jaxPeer(shape, backend)
}

/** Trains for `steps` steps; every step's time ends when the device has done all of its work. */
export async function contest(
  peer: Peer,
  backend: 'wasm' | 'webgpu',
  shape: BenchShape,
  steps: number,
): Promise<BenchResult> {
  const one = await contestant(peer, backend, shape)
  const losses: number[] = []
  const times: number[] = []
  for (let i = 0; i < steps; i++) {
    const start = performance.now()
    losses.push(await one.step())
    times.push(performance.now() - start)
  }
  const peakBytes = one.peakBytes()
  one.dispose()
  return { peer, losses, times, peakBytes }
}
