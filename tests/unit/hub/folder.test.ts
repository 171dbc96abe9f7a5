import { describe, expect, it } from 'vitest'
import { folderOf, onlyModelFiles, pickedSource } from '../../../src/hub'

const picked = (...paths: string[]) => paths.map((path) => ({ path, file: new Blob([path]) }))
const names = async (files: ReturnType<typeof picked>, marker: 'config.json' | 'adapter_config.json' = 'config.json') =>
  (await (await folderOf(pickedSource(files), marker)).list()).map(({ name }) => name)

describe('a picked folder', () => {
  it('is taken from where config.json lies, without the folders inside it', async () => {
    const files = picked(
      'a/b/config.json',
      'a/b/model.safetensors',
      'a/b/onnx/config.json',
      'a/b/.gitattributes',
      'a/x',
    )
    expect(await names(files)).toEqual(['config.json', 'model.safetensors'])
    expect(await names(picked('config.json', 'tokenizer.json'))).toEqual(['config.json', 'tokenizer.json'])
    expect(await names(picked('.\\m\\config.json', '.\\m\\vocab.json'))).toEqual(['config.json', 'vocab.json'])
  })

  it('is read by ranges', async () => {
    const source = await folderOf(
      pickedSource([{ path: 'm/config.json', file: new Blob(['0123456789']) }]),
      'config.json',
    )
    expect(new TextDecoder().decode(await source.read('config.json', 2, 5))).toBe('234')
    expect((await source.read('config.json')).byteLength).toBe(10)
    await expect(source.read('other')).rejects.toMatchObject({ code: 'file.missing', where: 'm/other' })
  })

  it('that is no model, or several, is refused with what to do', async () => {
    await expect(names(picked('photos/cat.jpg'))).rejects.toMatchObject({
      code: 'model.config',
      where: 'photos',
      fix: expect.stringContaining('config.json'),
    })
    await expect(names(picked('m/config.json'), 'adapter_config.json')).rejects.toThrow(/adapter folder/)
    await expect(names(picked('all/a/config.json', 'all/b/config.json'))).rejects.toMatchObject({
      code: 'model.config',
      where: 'all/a/, all/b/',
    })
    await expect(names([])).rejects.toMatchObject({ code: 'model.config' })
  })

  it('whose file cannot be read any more says so', async () => {
    const gone = new Blob(['x'])
    gone.slice = () => {
      throw new DOMException('The file changed.', 'NotReadableError')
    }
    const source = pickedSource([{ path: 'config.json', file: gone }])
    await expect(source.read('config.json')).rejects.toMatchObject({ code: 'file.unreadable', where: 'config.json' })
  })

  it('is stored without what no loader needs', async () => {
    const source = pickedSource(picked('config.json', 'model.safetensors', 'pytorch_model.bin', 'cat.png'))
    const kept = (await onlyModelFiles(source).list()).map(({ name }) => name)
    expect(kept).toEqual(['config.json', 'model.safetensors'])
  })
})
