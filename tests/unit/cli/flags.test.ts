/** Arguments: every setting has a flag, and mistakes are named with what was probably meant. */
import { describe, expect, it } from 'vitest'
import { nearest } from '../../../src/shared/nearest'
import { parseArguments, requireFlags } from '../../../src/cli/flags'
import { commandHelp, overview } from '../../../src/cli/help'
import type { CommandName } from '../../../src/cli/options'
import { COMMANDS } from '../../../src/cli/options'
import { CodedError } from '../../../src/shared/errors'
import { flagOf, SETTING_LIST } from '../../../src/shared/job'

function parse(line: string) {
  const result = parseArguments(line.split(' ').filter(Boolean))
  if (result.help) throw new Error('help')
  return result
}

function mistake(...argv: string[]): CodedError {
  try {
    parseArguments(argv)
  } catch (error) {
    if (error instanceof CodedError) return error
    throw error
  }
  throw new Error(`${argv.join(' ')} was taken`)
}

describe('parseArguments', () => {
  it('reads the settings of the issue’s command line', () => {
    const { command, options, given } = parse(
      'train --model m --data d.jsonl --eval-data e.jsonl --eval-fraction 0.2 --out o --job j.json --steps 5 --epochs 2 --batch-size 3 ' +
        '--grad-accum 2 --lr 1e-3 --rank 8 --alpha 16 --dropout 0.1 --targets q_proj,v_proj --schedule linear --warmup-steps 2 ' +
        '--weight-decay 0 --clip 0.5 --max-length 64 --train-on all --eval-every 2 --save-every 3 --early-stop 4 --seed 7 --no-shuffle ' +
        '--init-adapter a --resume --backend wasm --json',
    )
    expect(command).toBe('train')
    expect(options).toEqual({ out: 'o', job: 'j.json', resume: true, json: true })
    expect(given).toEqual({
      model: 'm',
      data: 'd.jsonl',
      evalData: 'e.jsonl',
      evalFraction: 0.2,
      steps: 5,
      epochs: 2,
      batchSize: 3,
      gradAccum: 2,
      learningRate: 1e-3,
      rank: 8,
      alpha: 16,
      dropout: 0.1,
      targets: ['q_proj', 'v_proj'],
      schedule: 'linear',
      warmupSteps: 2,
      weightDecay: 0,
      clip: 0.5,
      maxLength: 64,
      trainOn: 'all',
      evalEvery: 2,
      saveEvery: 3,
      earlyStop: 4,
      seed: 7,
      shuffle: false,
      initAdapter: 'a',
      backend: 'wasm',
    })
  })

  it('takes values after a space and after an equals sign', () => {
    expect(parse('train --lr=2e-4').given).toEqual(parse('train --lr 2e-4').given)
    expect(parseArguments(['generate', '--prompt=--json'])).toMatchObject({ options: { prompt: '--json' } })
    expect(parseArguments(['generate', '--prompt', '-1 and 2', '--stop', 'a', '--stop', 'b'])).toMatchObject({
      options: { prompt: '-1 and 2', stop: ['a', 'b'] },
    })
  })

  it('leaves out what was not given, so that the recipe can fill it', () => {
    expect(parse('train --model m').given).toEqual({ model: 'm' })
  })

  it('names near flags and commands', () => {
    expect(mistake('tran').fix).toContain('train')
    expect(mistake('train', '--step', '5').fix).toContain('--steps')
    expect(mistake('train', '--learning-rate', '1').what).toContain('--learning-rate')
    expect(mistake('evaluate', '--lr', '1').what).toContain('it belongs to train')
    expect(mistake('train', '--batchsize', '1').fix).toContain('--batch-size')
  })

  it('refuses what is no value', () => {
    for (const argv of [
      ['train', '--lr', 'fast'],
      ['train', '--lr', ''],
      ['train', '--rank', '1.5'],
      ['train', '--rank', '0'],
      ['train', '--schedule', 'sine'],
      ['train', '--targets', ''],
      ['train', '--steps'],
      ['train', '--out', '--json'],
      ['train', '--json=perhaps'],
      ['train', 'stray'],
      ['train', '--out', ''],
      ['train', '--model='],
      ['export', '--adapter', ''],
      ['train', '--rank-pattern', 'q_proj=0'],
      ['train', '--rank-pattern', 'q_proj=2.5'],
      ['train', '--rank-pattern', 'q_proj=8,'],
      ['train', '--alpha-pattern', 'q_proj=0.0'],
      ['generate', '--top-p', '2'],
      ['generate', '--max-new-tokens', 'many'],
    ]) {
      const error = mistake(...argv)
      expect([error.code, error.fix]).toEqual(['usage', expect.stringContaining(`finetab ${argv[0]} --help`)])
    }
  })

  it('takes ranks and alphas by name', () => {
    const line = 'train --rank-pattern q_proj=8,layers.0.mlp.up_proj=32 --alpha-pattern q_proj=0.5'
    expect(parse(line).given).toEqual({ rankPattern: 'q_proj=8,layers.0.mlp.up_proj=32', alphaPattern: 'q_proj=0.5' })
  })

  it('asks for what a command needs', () => {
    expect(() => requireFlags('train', new Set(['model', 'out']))).toThrow('train needs --data.')
    expect(() => requireFlags('inspect', new Set())).toThrow('--path or --model or --adapter or --data')
    expect(() => requireFlags('inspect', new Set(['data']))).not.toThrow()
  })
})

describe('help', () => {
  it('names every command and every setting', () => {
    for (const name of Object.keys(COMMANDS)) expect(overview()).toContain(`  ${name} `)
    const help = commandHelp('train')
    for (const [key, setting] of SETTING_LIST) {
      expect(help).toContain(`--${setting.kind === 'switch' && setting.default ? 'no-' : ''}${flagOf(key)}`)
    }
  })

  it('keeps its lines short', () => {
    for (const name of Object.keys(COMMANDS) as CommandName[]) {
      const longest = Math.max(
        ...commandHelp(name)
          .split('\n')
          .map((line) => line.length),
      )
      expect(longest).toBeLessThanOrEqual(120)
    }
  })

  it('is asked for in three ways', () => {
    expect(parseArguments([])).toEqual({ command: null, help: true })
    expect(parseArguments(['help', 'train'])).toEqual({ command: 'train', help: true })
    expect(parseArguments(['train', '--lr', '1', '--help'])).toEqual({ command: 'train', help: true })
  })
})

describe('nearest', () => {
  it('finds slips of a letter and beginnings, and nothing where nothing is near', () => {
    expect(nearest('stpes', ['steps', 'epochs', 'seed'])).toEqual(['steps'])
    expect(nearest('max', ['max-length', 'out'])).toEqual(['max-length'])
    expect(nearest('banana', ['steps', 'epochs'])).toEqual([])
  })
})
