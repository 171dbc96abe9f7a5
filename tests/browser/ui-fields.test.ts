/** Forms that derive from the settings table, and rows in tokens. */
import { beforeEach, describe, expect, it } from 'vitest'
import { show } from './support/show'
import { applies, SETTING_LIST } from '../../src/shared/job'
import { draft } from '../../src/stores/draft.svelte'
import Field from '../../src/ui/components/Field.svelte'
import SettingsPanel from '../../src/ui/components/SettingsPanel.svelte'
import Tokens from '../../src/ui/components/Tokens.svelte'
import '../../src/ui/styles/tokens.css'
import '../../src/ui/styles/base.css'

beforeEach(() => void draft.resetAll())

describe('a setting', () => {
  it('takes 2e-3 as it is typed and gives its own value back', async () => {
    const page = show(Field, { key: 'learningRate' })
    await page.getByRole('textbox', { name: 'Learning rate' }).fill('2e-3')
    expect(draft.job.learningRate).toBe(0.002)
    await page.getByRole('button', { name: /back to 2e-4/ }).click()
    expect(draft.job.learningRate).toBe(2e-4)
    expect(draft.changed).toEqual([])
  })

  it('says what is wrong and keeps what was typed', async () => {
    const page = show(Field, { key: 'rank' })
    const field = page.getByRole('textbox', { name: 'LoRA rank' })
    await field.fill('1.5')
    await expect.element(page.getByText('LoRA rank must be a whole number.')).toBeVisible()
    await expect.element(field).toHaveValue('1.5')
    await expect.element(field).toHaveAttribute('aria-invalid', 'true')
  })

  it('goes to the next round value with the arrow keys', async () => {
    const page = show(Field, { key: 'batchSize' })
    const field = page.getByRole('textbox', { name: 'Batch size' })
    field.element().dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowUp', bubbles: true }))
    expect(draft.job.batchSize).toBe(5)
  })
})

describe('the settings panel', () => {
  it.each(['sft', 'dpo'] as const)(
    'has every setting of the table that applies to %s, and no other',
    async (objective) => {
      draft.set('objective', objective)
      const page = show(SettingsPanel, {})
      for (const closed of document.querySelectorAll('details.advanced, details.group')) closed.setAttribute('open', '')
      const visible = SETTING_LIST.filter(([key, setting]) => !setting.hidden && applies(key, draft.job))
      expect(visible.some(([key]) => key === 'beta')).toBe(objective === 'dpo')
      for (const [, setting] of visible) {
        const label =
          setting.kind === 'list'
            ? page.getByRole('group', { name: setting.label })
            : page.getByLabelText(setting.label, { exact: true })
        await expect.element(label).toBeVisible()
      }
      expect(document.querySelectorAll('.field')).toHaveLength(visible.length)
    },
  )

  it('finds settings by what they are called, their flag, or what they do', async () => {
    const page = show(SettingsPanel, {})
    document.querySelector('details.advanced')?.setAttribute('open', '')
    const find = page.getByLabelText('Find a setting')
    await find.fill('jumpy pissa')
    await expect.element(page.getByText('No setting here is called so, or does that.')).toBeVisible()
    await find.fill('lora-init')
    await expect.element(page.getByLabelText('LoRA start', { exact: true })).toBeVisible()
    await find.fill('noise embedded')
    await expect.element(page.getByLabelText('NEFTune noise', { exact: true })).toBeVisible()
    expect(document.querySelectorAll('.advanced .field')).toHaveLength(1)
  })
})

describe('a row in tokens', () => {
  it('marks what counts in the loss by colour and by a line', () => {
    const token = (text: string, trained: boolean) => ({ id: 1, text, trained, special: false })
    const row = { index: 0, tokens: [token('Hi', false), token(' there', true)], truncated: 3, trainedTokens: 1 }
    const page = show(Tokens, { row })
    const style = (text: string) => getComputedStyle(page.getByText(text, { exact: true }).element())
    expect(style('there').borderBottomWidth).toBe('2px')
    expect(style('Hi').borderBottomWidth).toBe('0px')
    expect(style('there').backgroundColor).not.toBe(style('Hi').backgroundColor)
    expect(page.getByText('3 tokens cut off').element()).toBeTruthy()
  })
})
