/** The factor on the loss: how it falls, how it rises, and that it goes on where it was. */
import { describe, expect, it } from 'vitest'
import { LossScale } from '../../../src/engine/train/loss-scale'
import { arithmeticNote, arithmeticOn, MATRIX_FEATURE } from '../../../src/shared/arithmetic'
import type { DeviceReport } from '../../../src/shared/records'

describe('the loss scale', () => {
  it('doubles after 2000 good steps in a row, also over a checkpoint', () => {
    let scale = new LossScale()
    for (let step = 0; step < 1999; step++) scale.keep()
    expect(scale.save()).toEqual({ factor: 65536, good: 1999 })
    scale = new LossScale(scale.save())
    scale.keep()
    expect(scale.save()).toEqual({ factor: 131072, good: 0 })
    for (let step = 0; step < 1999; step++) scale.keep()
    expect(scale.lower()).toBe(true)
    scale.keep()
    expect(scale.save()).toEqual({ factor: 65536, good: 1 })
  })

  it('halves down to 1 and no further', () => {
    const scale = new LossScale()
    for (let i = 0; i < 16; i++) expect(scale.lower()).toBe(true)
    expect(scale.factor).toBe(1)
    expect(scale.lower()).toBe(false)
    expect(scale.factor).toBe(1)
  })
})

describe('the arithmetic of a device', () => {
  it('is what is asked for where it is there, and full precision elsewhere, said in words', () => {
    expect(arithmeticOn(['shader-f16'], 'f16')).toBe('f16')
    expect(arithmeticOn(['subgroups'], 'f16')).toBe('f32')
    const report = (features: string[]): DeviceReport => ({
      ...{
        backend: 'webgpu',
        adapter: 'any',
        software: false,
        features,
        budget: 1,
        tone: 'good',
        note: '',
        selfTest: 0,
      },
    })
    expect(arithmeticNote({ arithmetic: 'f16' }, report(['shader-f16']))).toBeNull()
    expect(arithmeticNote({ arithmetic: 'f32' }, report([]))).toBeNull()
    expect(arithmeticNote({ arithmetic: 'f16' }, report([]))).toContain('no half precision')
    const has = [MATRIX_FEATURE, 'shader-f16']
    expect(arithmeticOn(has, 'matrix')).toBe('matrix')
    expect(arithmeticNote({ arithmetic: 'matrix' }, report(has))).toBeNull()
    expect(arithmeticOn(['shader-f16'], 'matrix')).toBe('f16')
    expect(arithmeticNote({ arithmetic: 'matrix' }, report(['shader-f16']))).toMatch(
      /no matrix units: .* in half precision.*chrome:\/\/flags/,
    )
    expect(arithmeticOn([], 'matrix')).toBe('f32')
    expect(arithmeticNote({ arithmetic: 'matrix' }, report([]))).toMatch(/no matrix units: .* in full precision/)
  })
})
