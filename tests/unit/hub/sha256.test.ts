import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { Sha256 } from '../../../src/hub/sha256'

const bytes = Uint8Array.from({ length: 5000 }, (_, index) => (index * 31 + (index >> 3)) & 255)
const wanted = (data: Uint8Array) => createHash('sha256').update(data).digest('hex')

describe('SHA-256', () => {
  it.each([0, 1, 3, 55, 56, 57, 63, 64, 65, 119, 120, 128, 5000])('of %i bytes is that of Node', (length) => {
    expect(new Sha256().update(bytes.subarray(0, length)).hex()).toBe(wanted(bytes.subarray(0, length)))
  })

  it.each([1, 7, 63, 64, 65, 1000])('does not depend on pieces (of %i)', (size) => {
    const hash = new Sha256()
    for (let at = 0; at < bytes.length; at += size) hash.update(bytes.subarray(at, at + size))
    expect(hash.hex()).toBe(wanted(bytes))
  })
})
