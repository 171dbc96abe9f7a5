/** The licence that a model's own card states. Refuses to guess one. */
import type { FileSource } from '../../shared/files'

/** `license:` in the header of README.md, or undefined. */
export async function statedLicence(source: FileSource): Promise<string | undefined> {
  const card = (await source.list()).find(({ name, size }) => name === 'README.md' && size > 0)
  if (!card) return undefined
  const start = new TextDecoder().decode(await source.read(card.name, 0, Math.min(card.size, 1 << 16)))
  const [, header = ''] = /^---\r?\n([\s\S]*?)\r?\n---/.exec(start) ?? []
  const [, stated] = /^license:[ \t]*(.+)$/m.exec(header) ?? []
  return stated?.trim().replace(/^(["'])(.*)\1$/, '$2') || undefined
}
