/** Tokens a second of generation, one prompt at a time, greedy. Refuses other samplings. */
import { generate, loadModel } from '../../src/engine'
import { DEFAULT_SAMPLING } from '../../src/shared/protocol'
import { folder } from './finetab'
import { batchIds, type BenchShape } from './shapes'

export interface GenerateRow {
  prompt: number
  tokens: number
  /** ms until the first token, and ms of each further one (median). */
  firstMs: number
  tokenMs: number
}

export async function benchGenerate(s: BenchShape, tokens: number): Promise<GenerateRow> {
  const model = await loadModel(folder(s), { id: `local:${s.name}`, name: s.name })
  const prompt = [...batchIds(s).subarray(0, 32)]
  const sampling = { ...DEFAULT_SAMPLING, temperature: 0, maxNewTokens: tokens }
  const run = async (): Promise<number[]> => {
    const times: number[] = []
    let last = performance.now()
    for await (const _ of generate(model, null, prompt, sampling)) {
      times.push(performance.now() - last)
      last = performance.now()
    }
    return times
  }
  await run() // compiles
  const [firstMs = Number.NaN, ...rest] = await run()
  model.dispose()
  const sorted = rest.sort((a, b) => a - b)
  return { prompt: prompt.length, tokens, firstMs, tokenMs: sorted[Math.floor(sorted.length / 2)] ?? Number.NaN }
}
