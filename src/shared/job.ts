/**
 * THE settings table: what a job may say, its defaults, bounds, words and flags. Form, validation, URL state, command-line
 * flags and docs all derive from it. Refuses to know where models, rows or runs are kept.
 */
import { CodedError } from './errors'
import { checkMix } from './mix'

export type Group = 'model' | 'data' | 'method' | 'optimiser' | 'schedule' | 'evaluation' | 'run'

interface Base<T> {
  readonly group: Group
  readonly label: string
  /** One sentence a newcomer understands and an expert agrees with. */
  readonly help: string
  readonly default: T
  /** What a person sees when the value is too low / too high. */
  readonly tooLow?: string
  readonly tooHigh?: string
  /** Command-line flag without dashes, where it is not the key in kebab case. */
  readonly flag?: string
  /** One of the few settings shown before "Advanced". */
  readonly first?: true
  /** Shown after the value. */
  readonly unit?: string
  /** What a zero means, for settings where zero is not a quantity ("automatic", "off"). */
  readonly zero?: string
  /** Part of where things come from rather than how to train; the form does not list it. */
  readonly hidden?: true
  /** The values of other settings under which this one does anything; see {@link applies}. */
  readonly when?: Readonly<Record<string, readonly (string | number | boolean)[]>>
}

export interface NumberSetting extends Base<number> {
  readonly kind: 'integer' | 'number'
  readonly min: number
  readonly max: number
  /** Steps on a logarithmic scale (learning rates). */
  readonly log?: true
}
export interface ChoiceSetting<C extends string> extends Base<C> {
  readonly kind: 'choice'
  readonly choices: { readonly [K in C]: string }
}
export interface SwitchSetting extends Base<boolean> {
  readonly kind: 'switch'
}
export interface TextSetting extends Base<string> {
  readonly kind: 'text'
  /** What a text that is not empty must look like, and how that is said after the setting's name. */
  readonly form?: { readonly pattern: RegExp; readonly says: string }
}
export interface ListSetting extends Base<readonly string[]> {
  readonly kind: 'list'
  readonly choices: readonly string[]
}
export type Setting = NumberSetting | ChoiceSetting<string> | SwitchSetting | TextSetting | ListSetting

const integer = (s: Omit<NumberSetting, 'kind'>): NumberSetting => ({ kind: 'integer', ...s })
const number = (s: Omit<NumberSetting, 'kind'>): NumberSetting => ({ kind: 'number', ...s })
// Inferred from the choices, not from what the table asks for: a job's type keeps "cosine" | "linear" | "constant".
const choice = <T extends Record<string, string>>(
  s: Omit<ChoiceSetting<keyof T & string>, 'kind' | 'choices'> & { readonly choices: T },
): ChoiceSetting<keyof T & string> => ({ kind: 'choice', ...s })
const toggle = (s: Omit<SwitchSetting, 'kind'>): SwitchSetting => ({ kind: 'switch', ...s })
const text = (s: Omit<TextSetting, 'kind'>): TextSetting => ({ kind: 'text', ...s })
const list = (s: Omit<ListSetting, 'kind'>): ListSetting => ({ kind: 'list', ...s })

/** "q_proj=8, down_proj=32" */
const BY_NAME = {
  pattern: /^\s*[\w.]+\s*=\s*\d+(\.\d+)?\s*(,\s*[\w.]+\s*=\s*\d+(\.\d+)?\s*)*$/,
  says: 'must be names with numbers, such as q_proj=8, down_proj=32',
}

/** The linear layers a LoRA adapter can sit on, by the last part of their Hugging Face name. */
export const LORA_TARGETS = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'] as const

export const SETTINGS = {
  model: text({
    group: 'model',
    label: 'Model',
    help: 'The base model that is tuned; it is never changed.',
    default: '',
    hidden: true,
  }),
  data: text({ group: 'data', label: 'Dataset', help: 'The examples to learn from.', default: '', hidden: true }),
  evalData: text({
    group: 'data',
    label: 'Validation dataset',
    help: 'A dataset of its own for validation; without one, a part of the examples is set aside.',
    default: '',
    hidden: true,
  }),
  evalFraction: number({
    group: 'data',
    when: { evalData: [''] },
    label: 'Validation share',
    help: 'The share of examples that is never trained on, so that the validation loss tells how the model does on new text.',
    tooLow: 'The validation loss jumps about and says little.',
    tooHigh: 'Fewer examples are left to learn from.',
    default: 0.1,
    min: 0,
    max: 0.5,
  }),
  evalSplit: choice({
    group: 'data',
    when: { evalData: [''] },
    label: 'Validation rows',
    help: 'Which examples are set aside: any, the same share of every class, or whole groups so that no group is on both sides.',
    default: 'random',
    choices: { random: 'at random', stratified: 'the same share of every class', grouped: 'whole groups' },
  }),
  splitBy: text({
    group: 'data',
    when: { evalSplit: ['stratified', 'grouped'] },
    label: 'Class or group column',
    help: 'The column that names the class or the group of an example; without one the answer is the class and the prompt the group.',
    default: '',
  }),
  subset: integer({
    group: 'data',
    label: 'Only so many examples',
    flag: 'subset',
    help: 'Takes this many examples, chosen by the seed, for a quick trial.',
    tooLow: 'Too few to tell how the whole run will go.',
    default: 0,
    min: 0,
    max: 1_000_000_000,
    unit: 'examples',
    zero: 'all',
  }),
  mix: text({
    group: 'data',
    label: 'Mixed-in datasets',
    help: 'Other datasets and the share of every pass that comes from each, as NAME=SHARE, separated by commas.',
    default: '',
    hidden: true,
  }),
  replayShare: number({
    group: 'data',
    label: 'General text share',
    help: 'The share of every pass that is general text instead of your examples, so that the model forgets less of what it knew.',
    tooLow: 'Skills that your examples do not use may fade.',
    tooHigh: 'Less of the run goes into your examples.',
    default: 0,
    min: 0,
    max: 0.9,
    zero: 'none',
  }),
  replayData: text({
    group: 'data',
    label: 'General text',
    help: 'The dataset of general text; without one, the stories that come with Finetab.',
    default: '',
    hidden: true,
  }),
  trainOn: choice({
    group: 'data',
    label: 'Train on',
    help: 'Which tokens the loss counts: those of every answer, of the last answer in a chat, or the prompts too; all answers is right for instructions and chat.',
    default: 'completion',
    choices: { completion: 'answers only', last: 'the last answer only', all: 'every token' },
  }),
  maxLength: integer({
    group: 'data',
    label: 'Maximum length',
    help: 'Examples longer than this many tokens are cut at the end; memory and time grow with it.',
    tooLow: 'Answers lose their end, and the model never learns to stop.',
    tooHigh: 'Memory and time go into a few long examples.',
    default: 512,
    min: 8,
    max: 32768,
    unit: 'tokens',
  }),
  shuffle: toggle({
    group: 'data',
    label: 'Shuffle',
    help: 'Takes the examples in a new seeded order each epoch instead of file order.',
    default: true,
  }),

  groupByLength: toggle({
    group: 'data',
    label: 'Group by length',
    help: 'Puts examples of like length into the same batch, so that less padding is computed; batches come in a seeded order all the same.',
    default: false,
  }),
  packing: toggle({
    group: 'data',
    label: 'Packing',
    help: 'Puts short examples one after the other instead of padding each; every example still sees only itself, so the result is the same and less is computed.',
    default: false,
  }),

  method: choice({
    group: 'method',
    label: 'Method',
    help: 'What is trained: something small beside the model, or the weights of the model themselves; LoRA is right unless you know otherwise.',
    default: 'lora',
    choices: {
      lora: 'LoRA adapter',
      full: 'all weights (full fine-tuning)',
      ia3: '(IA)³ factors',
      bottleneck: 'bottlenecks',
      prompt: 'learnt prompt',
      prefix: 'learnt prefix',
    },
  }),
  virtualTokens: integer({
    group: 'method',
    label: 'Virtual tokens',
    help: 'How many learnt tokens stand before every example; each takes room and time like a real one.',
    tooLow: 'Too little room for what the examples say: the training loss stays high.',
    tooHigh: 'Slower, and it learns no better; learning gets unsteady.',
    default: 20,
    min: 1,
    max: 512,
    unit: 'tokens',
    first: true,
    when: { method: ['prompt', 'prefix'] },
  }),
  virtualText: text({
    group: 'method',
    label: 'Start text',
    help: 'Words that the virtual tokens start as, such as what you would have written as an instruction; any words if empty.',
    default: '',
    when: { method: ['prompt', 'prefix'] },
  }),
  bottleneckSize: integer({
    group: 'method',
    label: 'Bottleneck size',
    help: 'The width of the small networks after each block: how much they can learn, and how large their file is.',
    tooLow: 'The training loss stays high: too little room for what the examples say.',
    tooHigh: 'More memory, and small datasets are learnt by heart.',
    default: 32,
    min: 1,
    max: 1024,
    first: true,
    when: { method: ['bottleneck'] },
  }),
  bottleneckPlaces: choice({
    group: 'method',
    label: 'Bottleneck places',
    help: 'Where the small networks stand: after attention and feed-forward blocks (Houlsby), or after feed-forward blocks alone (Pfeiffer), which is half the size.',
    default: 'both',
    choices: { both: 'after both blocks', mlp: 'after feed-forward blocks' },
    when: { method: ['bottleneck'] },
  }),
  trainedPart: choice({
    group: 'method',
    label: 'Trained part',
    help: 'Which of the weights are trained; the others stay as they are, which needs less memory and keeps more of what the model knew.',
    default: 'all',
    choices: {
      all: 'everything',
      last: 'the last layers',
      first: 'the first layers',
      norms: 'norms only',
      head: 'the head only',
      names: 'weights by name',
      gradual: 'from the top, more each epoch',
    },
    when: { method: ['full'] },
  }),
  trainedLayers: integer({
    group: 'method',
    label: 'Trained layers',
    help: 'How many layers are trained; from the top, how many more each epoch.',
    tooLow: 'Too little of the model can change: the training loss stays high.',
    tooHigh: 'As with everything trained: more memory, and more is forgotten.',
    default: 2,
    min: 1,
    max: 1000,
    unit: 'layers',
    when: { trainedPart: ['last', 'first', 'gradual'] },
  }),
  trainedNames: text({
    group: 'method',
    label: 'Trained names',
    help: 'Parts of the names of the weights that are trained, separated by commas, with * for anything: self_attn.q_proj, layers.3, *norm.',
    default: '',
    when: { trainedPart: ['names'] },
  }),
  quantization: choice({
    group: 'method',
    label: 'Base weights',
    help: 'The precision in which the frozen base model is held: fewer bits need less memory and cost a little quality, while the adapter is always trained in full precision.',
    default: 'none',
    choices: {
      none: 'as in its files',
      f16: '16 bits',
      int8: '8 bits',
      nf4: '4 bits (NF4, as in QLoRA)',
    },
  }),
  objective: choice({
    group: 'method',
    label: 'Objective',
    help: 'What is learnt: the answers as they stand, which of two answers is the better one, or which of a few labels a text has.',
    default: 'sft',
    choices: {
      sft: 'the answers',
      dpo: 'preferences (DPO)',
      orpo: 'answers and preferences (ORPO)',
      kto: 'rated answers (KTO)',
      classification: 'classes (a head)',
    },
  }),
  beta: number({
    group: 'method',
    label: 'Beta',
    help: 'How strongly preferences hold the model to where it started; in ORPO, how much they count beside the answers.',
    tooLow: 'The model drifts away, and its answers fall apart.',
    tooHigh: 'The preferences are hardly taken up.',
    default: 0.1,
    min: 0.001,
    max: 10,
    when: { objective: ['dpo', 'orpo', 'kto'] },
  }),
  wrongPairs: number({
    group: 'method',
    label: 'Wrong pairs',
    help: 'The share of pairs that may be the wrong way round; the model then stays less sure of all of them.',
    default: 0,
    min: 0,
    max: 0.49,
    when: { objective: ['dpo'] },
  }),
  sftWeight: number({
    group: 'method',
    label: 'Answer weight',
    help: 'How much the better answers are also learnt as they stand, which keeps their own likelihood from falling.',
    tooHigh: 'The run only learns the better answers.',
    default: 0,
    min: 0,
    max: 100,
    when: { objective: ['dpo'] },
    zero: 'off',
  }),
  rank: integer({
    group: 'method',
    label: 'LoRA rank',
    help: 'The width of the adapter: how much it can learn, and how large its file is.',
    tooLow: 'The training loss stays high: too little room for what the examples say.',
    tooHigh: 'More memory, and small datasets are learnt by heart.',
    default: 16,
    min: 1,
    max: 256,
    first: true,
    when: { method: ['lora'] },
  }),
  alpha: number({
    group: 'method',
    label: 'LoRA alpha',
    help: "The adapter's change is multiplied by alpha / rank; twice the rank is the usual choice.",
    tooLow: 'The adapter learns slowly.',
    tooHigh: 'Training becomes jumpy, as with too large a learning rate.',
    default: 32,
    min: 0.1,
    max: 1024,
    when: { method: ['lora'] },
  }),
  dropout: number({
    group: 'method',
    label: 'LoRA dropout',
    help: "The share of the adapter's inputs that is switched off at random in each step, against learning by heart.",
    tooHigh: 'The adapter learns slowly and the loss is noisy.',
    default: 0,
    min: 0,
    max: 0.9,
    when: { method: ['lora'] },
  }),
  targets: list({
    group: 'method',
    label: 'Adapted layers',
    help: 'The linear layers that get an adapter; all of them learns best for its size.',
    default: LORA_TARGETS,
    choices: LORA_TARGETS,
    when: { method: ['lora'] },
  }),
  rslora: toggle({
    group: 'method',
    label: 'Rank-stabilised scale',
    help: "Multiplies the adapter's change by alpha over the root of the rank (rsLoRA), so that high ranks still learn.",
    default: false,
    when: { method: ['lora'] },
  }),
  dora: toggle({
    group: 'method',
    label: 'DoRA',
    help: 'Learns the direction and the length of each change apart: a little better at low ranks, and slower.',
    default: false,
    when: { method: ['lora'] },
  }),
  loraInit: choice({
    group: 'method',
    label: 'LoRA start',
    help: 'Whether the adapter starts from nothing, or from the main directions of the weights it changes, which learns faster.',
    default: 'zero',
    choices: { zero: 'no change', pissa: 'main directions (PiSSA)' },
    when: { method: ['lora'] },
  }),
  loraPlus: number({
    group: 'method',
    label: 'LoRA+ ratio',
    help: "The learning rate of the adapter's outer half over that of its inner half; 16 is the usual value where it is used.",
    tooHigh: 'Training becomes jumpy.',
    default: 1,
    min: 1,
    max: 1024,
    when: { method: ['lora'] },
  }),
  rankPattern: text({
    group: 'method',
    label: 'Ranks by layer',
    help: 'Ranks of layers that need another than the rest, by the end of their name: q_proj=8, layers.0.mlp.up_proj=32.',
    default: '',
    form: BY_NAME,
    when: { method: ['lora'] },
  }),
  alphaPattern: text({
    group: 'method',
    label: 'Alphas by layer',
    help: 'Alphas of layers that need another than the rest, by the end of their name: q_proj=16.',
    default: '',
    form: BY_NAME,
    when: { method: ['lora'] },
  }),
  neftune: number({
    group: 'method',
    label: 'NEFTune noise',
    help: 'Noise on the embedded tokens in training, against learning by heart; 5 is the usual strength.',
    tooHigh: 'The model cannot make out what it reads.',
    default: 0,
    min: 0,
    max: 100,
    zero: 'off',
  }),
  labelSmoothing: number({
    group: 'method',
    label: 'Label smoothing',
    help: 'The share of each answer token that is spread over all other tokens, so that the model stays less sure of itself.',
    tooHigh: 'The answers become vague, and the training loss stays high.',
    default: 0,
    min: 0,
    max: 0.9,
    zero: 'off',
    when: { objective: ['sft'] },
  }),
  initAdapter: text({
    group: 'method',
    label: 'Start from adapter',
    help: 'Go on from a finished adapter instead of a fresh one.',
    default: '',
    hidden: true,
  }),

  optimizer: choice({
    group: 'optimiser',
    label: 'Optimiser',
    help: 'The rule that moves the weights by their gradients; AdamW is right unless you know otherwise.',
    default: 'adamw',
    choices: {
      adamw: 'AdamW',
      'adamw-8bit': 'AdamW, moments in 8 bits',
      sgd: 'SGD with momentum',
      lion: 'Lion',
      muon: 'Muon',
    },
  }),
  learningRate: number({
    group: 'optimiser',
    label: 'Learning rate',
    flag: 'lr',
    help: 'How far each step moves the adapter; the one setting that matters most.',
    tooLow: 'The loss hardly falls.',
    tooHigh: 'The loss jumps or rises, and the answers fall apart.',
    default: 2e-4,
    min: 1e-8,
    max: 1,
    log: true,
    first: true,
  }),
  batchSize: integer({
    group: 'optimiser',
    label: 'Batch size',
    help: 'Examples that are worked on at once; memory grows with it.',
    tooLow: 'The loss is noisy and the device is not kept busy.',
    tooHigh: 'Memory runs out, and small datasets get few steps.',
    default: 4,
    min: 1,
    max: 512,
    first: true,
  }),
  gradAccum: integer({
    group: 'optimiser',
    label: 'Gradient accumulation',
    help: 'Batches that are added up before the adapter moves: a larger batch without its memory.',
    tooHigh: 'Few and slow steps.',
    default: 1,
    min: 1,
    max: 512,
  }),
  weightDecay: number({
    group: 'optimiser',
    label: 'Weight decay',
    help: 'Pulls the adapter towards zero a little in each step.',
    tooHigh: 'The adapter cannot hold what it learns.',
    default: 0.01,
    min: 0,
    max: 1,
  }),
  clip: number({
    group: 'optimiser',
    label: 'Gradient clip',
    help: 'Gradients whose norm is above this are scaled down to it, so that one odd batch cannot do damage.',
    tooLow: 'Every step is cut and learning is slow.',
    tooHigh: 'One odd batch can throw the run off.',
    default: 1,
    min: 0,
    max: 1000,
    zero: 'off',
  }),
  momentum: number({
    group: 'optimiser',
    label: 'Momentum',
    help: "How much of the gradients' running mean is kept each step.",
    tooLow: 'One odd batch turns the run aside.',
    tooHigh: 'The run overshoots.',
    default: 0.9,
    min: 0,
    max: 0.999,
    when: { optimizer: ['sgd', 'lion', 'muon'] },
  }),
  adamBeta1: number({
    group: 'optimiser',
    label: 'Adam beta 1',
    help: "How much of the gradient's running mean is kept each step.",
    default: 0.9,
    min: 0,
    max: 0.9999,
    when: { optimizer: ['adamw', 'adamw-8bit', 'muon'] },
  }),
  adamBeta2: number({
    group: 'optimiser',
    label: 'Adam beta 2',
    help: "How much of the squared gradient's running mean is kept each step.",
    default: 0.999,
    min: 0,
    max: 0.99999,
    when: { optimizer: ['adamw', 'adamw-8bit', 'muon'] },
  }),
  adamEpsilon: number({
    group: 'optimiser',
    label: 'Adam epsilon',
    help: 'Added to the root of the squared mean so that nothing is divided by zero.',
    default: 1e-8,
    min: 1e-12,
    max: 1e-2,
    log: true,
    when: { optimizer: ['adamw', 'adamw-8bit', 'muon'] },
  }),

  ema: number({
    group: 'optimiser',
    label: 'Weight averaging',
    help: 'How much of a running average of the weights is kept each step; the average is what is judged, kept and exported.',
    tooLow: 'The average is hardly steadier than the weights.',
    tooHigh: 'The average lags far behind in a short run.',
    default: 0,
    min: 0,
    max: 0.9999,
    zero: 'off',
  }),

  epochs: number({
    group: 'schedule',
    label: 'Epochs',
    help: 'How often the run goes through all examples; the number of steps follows from it unless steps are given.',
    tooLow: 'The examples are not learnt.',
    tooHigh: 'They are learnt by heart: validation loss turns upwards.',
    default: 3,
    min: 0.01,
    max: 1000,
    first: true,
  }),
  steps: integer({
    group: 'schedule',
    label: 'Steps',
    help: 'An exact number of steps, instead of epochs.',
    default: 0,
    min: 0,
    max: 1_000_000,
    zero: 'from epochs',
  }),
  schedule: choice({
    group: 'schedule',
    label: 'Schedule',
    help: 'How the learning rate goes down over the run.',
    default: 'cosine',
    choices: {
      cosine: 'cosine',
      linear: 'linear',
      constant: 'constant',
      'cosine-restarts': 'cosine with restarts',
      polynomial: 'polynomial',
      wsd: 'steady, then down (WSD)',
      plateau: 'down when validation stalls',
    },
  }),
  cycles: integer({
    group: 'schedule',
    label: 'Restarts',
    help: 'How many cosines the run is made of; each starts again at the full rate.',
    tooHigh: 'The model is thrown off again and again before it settles.',
    default: 3,
    min: 1,
    max: 100,
    when: { schedule: ['cosine-restarts'] },
  }),
  power: number({
    group: 'schedule',
    label: 'Polynomial power',
    help: 'How early the rate goes down: 1 is a straight line, 2 spends most of the run at low rates.',
    default: 2,
    min: 0.1,
    max: 10,
    when: { schedule: ['polynomial'] },
  }),
  decayShare: number({
    group: 'schedule',
    label: 'Decay share',
    help: 'The last part of the run in which the rate goes down; before it the rate is steady.',
    tooLow: 'The loss has no time to settle at the end.',
    default: 0.2,
    min: 0.01,
    max: 1,
    when: { schedule: ['wsd'] },
  }),
  finalRate: number({
    group: 'schedule',
    label: 'Final rate',
    help: 'What is left of the learning rate at the end of the run, as a share of its peak.',
    tooHigh: 'The loss is still noisy when the run ends.',
    default: 0,
    min: 0,
    max: 1,
    when: { schedule: ['cosine', 'linear', 'cosine-restarts', 'polynomial', 'wsd'] },
  }),
  plateauPatience: integer({
    group: 'schedule',
    label: 'Plateau patience',
    help: 'Evaluations without a better validation loss that are waited for before the rate is lowered.',
    tooLow: 'A short bump lowers the rate for good.',
    default: 1,
    min: 0,
    max: 1000,
    unit: 'evaluations',
    when: { schedule: ['plateau'] },
  }),
  plateauFactor: number({
    group: 'schedule',
    label: 'Plateau factor',
    help: 'What the learning rate is multiplied by each time the validation loss stalls.',
    default: 0.5,
    min: 0.01,
    max: 0.99,
    when: { schedule: ['plateau'] },
  }),
  warmupSteps: integer({
    group: 'schedule',
    label: 'Warm-up steps',
    help: 'Steps in which the learning rate climbs from zero, so that the first gradients do no damage.',
    tooLow: 'The loss may jump at the start.',
    tooHigh: 'Much of the run is spent at a low rate.',
    default: 0,
    min: 0,
    max: 100_000,
    zero: 'from the warm-up share',
  }),
  warmupRatio: number({
    group: 'schedule',
    label: 'Warm-up share',
    help: 'The warm-up as a share of all steps; an exact number of warm-up steps goes before it.',
    tooLow: 'The loss may jump at the start.',
    tooHigh: 'Much of the run is spent at a low rate.',
    default: 0,
    min: 0,
    max: 1,
    zero: 'none',
  }),

  evalEvery: integer({
    group: 'evaluation',
    label: 'Evaluate every',
    help: 'Steps between two looks at the validation loss and the sample.',
    default: 0,
    min: 0,
    max: 1_000_000,
    unit: 'steps',
    zero: 'ten times a run, at least every 100 steps',
  }),
  saveEvery: integer({
    group: 'evaluation',
    label: 'Checkpoint every',
    help: 'Steps between two checkpoints, from which a stopped or crashed run goes on exactly.',
    default: 0,
    min: 0,
    max: 1_000_000,
    unit: 'steps',
    zero: 'ten times a run, at least every 100 steps',
  }),
  earlyStop: integer({
    group: 'evaluation',
    label: 'Early stop after',
    help: 'Evaluations without a better validation loss after which the run ends.',
    tooLow: 'A short bump ends the run.',
    tooHigh: 'Time goes into overfitting.',
    default: 3,
    min: 0,
    max: 1000,
    unit: 'evaluations',
    zero: 'off',
  }),
  samplePrompt: text({
    group: 'evaluation',
    label: 'Sample prompt',
    help: 'Answered at each evaluation, so that you can read how the model changes; the first validation prompt if empty.',
    default: '',
  }),
  sampleTokens: integer({
    group: 'evaluation',
    label: 'Sample length',
    help: 'The most tokens in that sample.',
    default: 48,
    min: 0,
    max: 1024,
    unit: 'tokens',
    zero: 'no sample',
  }),

  seed: integer({
    group: 'run',
    label: 'Seed',
    help: 'The same job with the same seed on the same device gives the same losses.',
    default: 42,
    min: 0,
    max: 2 ** 31 - 1,
  }),
  backend: choice({
    group: 'run',
    label: 'Runs on',
    help: 'The graphics card through WebGPU, or the processor through WebAssembly.',
    default: 'auto',
    choices: { auto: 'the faster one here', webgpu: 'WebGPU', wasm: 'WebAssembly' },
  }),
} as const satisfies Record<string, Setting>

type Table = typeof SETTINGS
export type SettingKey = keyof Table
type Value<S> =
  S extends ChoiceSetting<infer C>
    ? C
    : S extends NumberSetting
      ? number
      : S extends SwitchSetting
        ? boolean
        : S extends ListSetting
          ? readonly string[]
          : string

/** A whole job: what a run keeps as its immutable settings. */
export type Job = { readonly [K in SettingKey]: Value<Table[K]> }

/** The table as a list, in the order in which the form shows it. */
export const SETTING_LIST = Object.entries(SETTINGS) as [SettingKey, Setting][]

/** The command-line flag of a setting, without dashes: its own, or the key in kebab case. */
export function flagOf(key: SettingKey): string {
  return (SETTINGS[key] as Setting).flag ?? key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)
}

/** A job with every setting at its default. */
export function defaultJob(): Job {
  return Object.fromEntries(SETTING_LIST.map(([key, setting]) => [key, setting.default])) as unknown as Job
}

/** A job that was stored before some settings were there, with those at their defaults. */
export function currentJob(stored: Partial<Job>): Job {
  return { ...defaultJob(), ...stored }
}

/** Whether a setting does anything in a job: every setting that it hangs on has one of the values it asks for. */
export function applies(key: SettingKey, job: Job): boolean {
  const { when } = SETTINGS[key] as Setting
  return Object.entries(when ?? {}).every(
    ([other, values]) => values.includes(job[other as SettingKey] as string) && applies(other as SettingKey, job),
  )
}

/** How large what a job trains is, in two or three words: "rank 16", "20 virtual tokens". */
export function methodText(job: Job): string {
  switch (job.method) {
    case 'ia3':
      return '(IA)³'
    case 'bottleneck':
      return `bottlenecks of ${job.bottleneckSize}`
    case 'prompt':
      return `a prompt of ${job.virtualTokens}`
    case 'prefix':
      return `a prefix of ${job.virtualTokens}`
    case 'full':
      return job.trainedPart === 'all' ? 'all weights' : SETTINGS.trainedPart.choices[job.trainedPart]
    default:
      return `rank ${job.rank}`
  }
}

/** Steps of warm-up in a run of so many steps: the number, or else the share rounded up, as transformers does. */
export function warmupOf(job: Pick<Job, 'warmupSteps' | 'warmupRatio'>, totalSteps: number): number {
  return job.warmupSteps > 0 ? job.warmupSteps : Math.ceil(totalSteps * job.warmupRatio)
}

/** What is wrong with one value, as a sentence; null where it is fine. */
export function checkSetting(key: SettingKey, value: unknown): string | null {
  const setting = SETTINGS[key] as Setting
  const name = setting.label
  switch (setting.kind) {
    case 'integer':
    case 'number': {
      if (typeof value !== 'number' || !Number.isFinite(value)) return `${name} must be a number.`
      if (setting.kind === 'integer' && !Number.isInteger(value)) return `${name} must be a whole number.`
      if (value < setting.min || value > setting.max)
        return `${name} must be between ${setting.min} and ${setting.max}.`
      return null
    }
    case 'choice':
      return typeof value === 'string' && Object.hasOwn(setting.choices, value)
        ? null
        : `${name} must be one of ${Object.keys(setting.choices).join(', ')}.`
    case 'switch':
      return typeof value === 'boolean' ? null : `${name} must be on or off.`
    case 'text':
      if (typeof value !== 'string') return `${name} must be text.`
      return value === '' || !setting.form || setting.form.pattern.test(value) ? null : `${name} ${setting.form.says}.`
    case 'list': {
      if (!Array.isArray(value) || value.length === 0)
        return `${name} needs at least one of ${setting.choices.join(', ')}.`
      return value.every((item) => typeof item === 'string') ? null : `${name} must be a list of names.`
    }
  }
}

/** A setting's text form (from a flag, the URL or a form field) as a value; the value may still fail {@link checkSetting}. */
export function parseSetting(key: SettingKey, raw: string): unknown {
  switch ((SETTINGS[key] as Setting).kind) {
    case 'integer':
    case 'number':
      return raw.trim() === '' ? Number.NaN : Number(raw)
    case 'switch':
      return raw === 'true' || raw === '1' ? true : raw === 'false' || raw === '0' ? false : raw
    case 'list':
      return raw
        .split(',')
        .map((item) => item.trim())
        .filter(Boolean)
    default:
      return raw
  }
}

/**
 * A full, valid, frozen job from what was given; the rest is at its default.
 * @throws CodedError `job.invalid`, listing every bad value and every unknown name at once.
 */
export function completeJob(given: Record<string, unknown>): Job {
  const problems: string[] = []
  const job: Record<string, unknown> = { ...defaultJob() }
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined) continue
    if (!Object.hasOwn(SETTINGS, key)) {
      problems.push(`There is no setting "${key}".`)
      continue
    }
    const problem = checkSetting(key as SettingKey, value)
    if (problem) problems.push(problem)
    job[key] = Array.isArray(value) ? Object.freeze([...value]) : value
  }
  if (problems.length === 0) problems.push(...Object.values(checkMix(job as unknown as Job)))
  if (problems.length > 0) {
    throw new CodedError('job.invalid', problems.join(' '), {
      where: 'job',
      fix: 'Correct these settings and start again.',
    })
  }
  return Object.freeze(job) as Job
}
