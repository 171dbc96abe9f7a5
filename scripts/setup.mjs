/** Finds or installs what a command needs: node_modules, Chromium. Refuses to download a browser of its own. */
import { spawnSync } from 'node:child_process'
import { existsSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..')

/** Runs a command with its output shown; returns its exit status. */
export function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: ROOT, stdio: 'inherit', ...options })
  return result.status ?? 1
}

/** Installs node_modules where the lock file is newer than what is there. */
export function ensureModules() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < 20 || (major === 20 && minor < 19)) {
    console.error(`Finetab needs Node 20.19 or newer; this is ${process.versions.node}.`)
    process.exit(2)
  }
  const stamp = join(ROOT, 'node_modules/.package-lock.json')
  if (existsSync(stamp) && statSync(stamp).mtimeMs >= statSync(join(ROOT, 'package-lock.json')).mtimeMs) return
  console.log('Installing packages …')
  if (run('npm', ['ci', '--no-audit', '--no-fund']) !== 0) {
    console.error('npm ci failed: see its message above, then run this again.')
    process.exit(1)
  }
}

/** The path of a Chromium or Chrome; installs Debian's where this is Debian and the user is root. */
export function ensureChromium() {
  const known = [
    process.env.CHROMIUM,
    '/usr/bin/chromium',
    '/usr/bin/chromium-browser',
    '/usr/bin/google-chrome',
    '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  ]
  const found = known.find((path) => path && existsSync(path))
  if (found) return found
  const debian = existsSync('/etc/debian_version')
  if (debian && process.getuid?.() === 0) {
    console.log('Installing Chromium for the tests …')
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    run('apt-get', ['update', '-qq'], { env })
    run('apt-get', ['install', '-y', '-qq', 'chromium', 'fonts-liberation'], {
      env,
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    if (existsSync('/usr/bin/chromium')) return '/usr/bin/chromium'
  }
  const how = debian ? 'Install it with: sudo apt-get install chromium' : 'Install Chrome or Chromium'
  console.error(`The browser tests need Chromium. ${how}, or set CHROMIUM to its path.`)
  process.exit(2)
}

/** Where the shared test data lies, or null. */
export function sharedData() {
  const path = join(ROOT, '../shared/data')
  return existsSync(path) ? path : null
}
