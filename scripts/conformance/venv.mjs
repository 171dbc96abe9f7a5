/** The Python that real PEFT runs in: `.venv` of this project, made where it is missing. Refuses to touch any other Python. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

const NEEDED = 'import torch, transformers, peft, safetensors, tokenizers, gguf, trl, datasets, ray.tune, yaml'
/** Wheels of torch are large; a slow line still gets them in this time. */
const INSTALL_LIMIT = 20 * 60_000

/**
 * @param {string} root the folder of the project
 * @returns {{ python: string } | { why: string }} an interpreter with all packages, or why there is none
 */
export function findPython(root) {
  const windows = process.platform === 'win32'
  const python = join(root, '.venv', windows ? 'Scripts' : 'bin', windows ? 'python.exe' : 'python')
  if (existsSync(python) && quiet(python, ['-c', NEEDED]).status === 0) return { python }
  if (!existsSync(python)) {
    const made = ['python3', 'python'].some((name) => quiet(name, ['-m', 'venv', join(root, '.venv')]).status === 0)
    if (!made || !existsSync(python)) return { why: 'there is no Python 3 with venv here' }
  }
  console.log('Installing torch, transformers and peft into .venv …')
  const requirements = join(root, 'tests/conformance/requirements.txt')
  // Without PIP_RETRIES=0, pip waits for minutes where an index cannot be reached.
  const env = { ...process.env, PIP_RETRIES: '0', PIP_DISABLE_PIP_VERSION_CHECK: '1' }
  const install = quiet(python, ['-m', 'pip', 'install', '-q', '-r', requirements], { env, timeout: INSTALL_LIMIT })
  if (install.status === 0 && quiet(python, ['-c', NEEDED]).status === 0) return { python }
  const said = `${install.stderr ?? ''}`.trim().split('\n').at(-1) || 'pip failed'
  return { why: `the Python packages cannot be had (${said})` }
}

function quiet(command, args, options = {}) {
  return spawnSync(command, args, { encoding: 'utf8', ...options })
}
