/** The forecast against what jobs of many kinds really hold at their peak, counted byte by byte. */
import { expect, it } from 'vitest'
import { loadModel } from '../../src/engine'
import { hostBytes } from '../../src/engine/ops/host-weights'
import { forecastAndMeasure, MEMORY_JOBS, SMOLLM2_JOB } from '../support/memory-jobs'
import { measurePeak } from '../support/peak'
import { randomModel } from '../support/random-model'

it.each(MEMORY_JOBS)('the forecast holds for $name', async (job) => {
  const { forecast, measured } = await forecastAndMeasure(job)
  const off = forecast.total / measured - 1
  expect(Math.abs(off), `forecast ${forecast.total}, measured ${measured}: ${off}`).toBeLessThan(0.1)
})

it.each(['int8', 'nf4'] as const)('loading in %s never holds more than what is kept', async (quantization) => {
  const source = randomModel({ ...SMOLLM2_JOB.config, num_hidden_layers: 2, vocab_size: 4096 }, 'BF16')
  const read = { largest: 0 }
  const watched = {
    ...source,
    read: async (...given: Parameters<typeof source.read>) => {
      const bytes = await source.read(...given)
      read.largest = Math.max(read.largest, bytes.byteLength)
      return bytes
    },
  }
  const { result, peak } = await measurePeak(async () => {
    const model = await loadModel(watched, { id: 'local:x', name: 'x', quantization })
    const kept = { all: model.network.bytes, host: hostBytes() }
    model.dispose()
    return kept
  })
  expect(peak + result.host).toBeLessThanOrEqual(1.01 * result.all)
  // One tensor of the file at a time: the embedding is the largest.
  expect(read.largest).toBeLessThanOrEqual(2 * 4096 * 576)
})
