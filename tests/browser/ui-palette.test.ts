/** The chart's colours, also where every change of colour takes its time (as under some reduced-motion rules). */
import { expect, it, onTestFinished } from 'vitest'
import { palette } from '../../src/ui/chart-drawing'
import '../../src/ui/styles/tokens.css'

it('is read as it is now, not as a transition still shows it', () => {
  const slow = document.createElement('style')
  slow.textContent = '* { transition: color 10s !important }'
  document.head.append(slow)
  onTestFinished(() => slow.remove())
  const colours = palette(document.body)
  expect(new Set([colours.ink, colours.screen, colours.tuned, colours.valid]).size).toBe(4)
})
