/** A Vite plugin that writes down which files the service worker keeps, and of which build. Refuses files too large to fetch unasked. */
import { createHash } from 'node:crypto'
import { readdirSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import type { Plugin } from 'vite'

/** Bytes of a public file above which it is fetched only when it is used. */
const MOST = 10_000_000
/** What only people and servers read. */
const LEFT_OUT = /(^|\/)(sw\.js|README\.md|curve\.svg|.*\.map)$/

/** Writes `offline-files.js` beside the page; `public/sw.js` reads it. */
export function offlineFiles(): Plugin {
  let root = ''
  return {
    name: 'finetab-offline-files',
    apply: 'build',
    configResolved(config) {
      root = config.publicDir
    },
    generateBundle(_options, bundle) {
      const kept = walk(root).filter((path) => !LEFT_OUT.test(relative(root, path)) && statSync(path).size <= MOST)
      const built = Object.keys(bundle).filter((name) => name !== 'index.html' && !LEFT_OUT.test(name))
      const files = ['./', ...built, ...kept.map((path) => relative(root, path).replaceAll('\\', '/'))]
      const stamp = kept.map((path) => `${path} ${statSync(path).size} ${statSync(path).mtimeMs}`)
      const version = createHash('sha256')
        .update(JSON.stringify([built, stamp]))
        .digest('hex')
        .slice(0, 12)
      const source = `self.OFFLINE = ${JSON.stringify({ version, files })}\n`
      this.emitFile({ type: 'asset', fileName: 'offline-files.js', source })
    },
  }
}

function walk(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    return entry.isDirectory() ? walk(path) : [path]
  })
}
