/**
 * What is kept and shown about models, datasets, runs and checkpoints: plain data that survives structured clone.
 * Refuses to hold behaviour.
 */
import type { ErrorReport } from './errors'
import type { Job } from './job'
import type { Judgement, Vote, WeightChange } from './judgement'
import type { MetricColumns } from './metrics'

/** How a model is named in a job: `bundled:NAME`, `local:ID`, `hub:OWNER/NAME@REVISION`; on the command line a path. */
export type ModelId = string
/** `sample:NAME` or `local:ID`; on the command line a path. */
export type DatasetId = string
export type RunId = string

export interface ModelRecord {
  id: ModelId
  name: string
  /** `model_type` of config.json. */
  family: string
  parameters: number
  vocabulary: number
  /** The longest sequence in tokens that the model was made for. */
  context: number
  layers: number
  hidden: number
  /** Bytes of all its files. */
  bytes: number
  /** Storage type of the weights: F32, F16, BF16. */
  dtype: string
  hasChatTemplate: boolean
  /** Time of adding in ms since 1970; 0 for bundled ones. */
  addedAt: number
  description?: string
  /** The numbers that the memory forecast needs, as config.json has them. */
  shape: ModelShape
  /** In a run's record, of a model whose files may change under its id: what they were. Older runs lack it. */
  fingerprint?: string | undefined
}

/** What a memory forecast needs to know of a model. */
export type ModelFacts = Pick<ModelRecord, 'shape' | 'dtype' | 'parameters'>

export interface ModelShape {
  hiddenSize: number
  intermediateSize: number
  layers: number
  heads: number
  kvHeads: number
  headDim: number
  vocabulary: number
  tiedHead: boolean
}

/** How rows are written in their file. */
export type RowFormat =
  'alpaca' | 'sharegpt' | 'chat' | 'pair' | 'text' | 'tokens' | 'preference' | 'kto' | 'label' | 'unknown'

/** Which column plays which role, and what is added; recognised first, then corrected by the person. */
export interface Mapping {
  format: RowFormat
  /** Role → column name; the roles of a format are listed in data/formats. */
  columns: Record<string, string>
  /** Put before every row that has no system message of its own. */
  systemPrompt?: string
}

/** A row that could not be used, set aside with its reason. */
export interface RowProblem {
  /** 1-based line in the file where it has lines, else the row's 1-based number. */
  line: number
  column?: number
  reason: string
  /** The start of the row as it stood. */
  text: string
}

export interface DatasetRecord {
  id: DatasetId
  name: string
  file: string
  bytes: number
  /** Rows that can be used, and rows set aside. */
  rows: number
  problems: number
  mapping: Mapping
  /** Why it was taken for this format, in one sentence. */
  why: string
  /** Column names seen, most common first, for the mapping form. */
  columns: string[]
  /** How many steps were made on it, and what names the state that they lead to; missing for a file as it was imported. */
  changes?: number
  revision?: string
  addedAt: number
  description?: string
  /** Settings that suit this sample on the default model, measured. */
  suggested?: Partial<Job>
  samplePrompt?: string
}

/** Tokens; `labels` stands beside `inputIds` (not shifted) with -100 where the loss does not look. */
export interface EncodedSequence {
  inputIds: Int32Array
  labels: Int32Array
}

/** A row in tokens: of a pair of answers the better one. */
export interface EncodedRow extends EncodedSequence {
  /** The row's 0-based number in its dataset. */
  index: number
  /** The worse answer to the same prompt. */
  rejected?: EncodedSequence
  /** Whether its answer was rated as a good one, and its prompt with the answer of another row. */
  rated?: { good: boolean; other: EncodedSequence }
}

/** Where a stream of batches stands; restoring it continues the very same stream. */
export interface BatchCursor {
  /** Rows taken since the start of the run. */
  position: number
  seed: number
}

/** An endless, seeded, resumable stream of batches. */
export interface BatchSource {
  /** Rows in one pass. */
  readonly rows: number
  next(): EncodedRow[]
  cursor(): BatchCursor
  restore(cursor: BatchCursor): void
}

/** One turn of a chat, as templates expect it. */
export interface ChatMessage {
  role: 'system' | 'user' | 'assistant' | 'tool' | (string & {})
  content: string
  tool_calls?: unknown[]
}

/** A row as the model sees it. */
export interface PreviewRow {
  index: number
  /** Text pieces, one a token, in order; `trained` pieces count in the loss. */
  tokens: { id: number; text: string; trained: boolean; special: boolean }[]
  /** Tokens cut off by the maximum length. */
  truncated: number
  trainedTokens: number
  /** Set where the row cannot be used. */
  problem?: string
}

/** Token statistics of a dataset under a mapping, a model and a maximum length. */
export interface DatasetStats {
  rows: number
  /** How the rows are written, where the count was told. */
  format?: RowFormat
  tokens: number
  trainedTokens: number
  /** Token lengths before cutting. */
  lengths: {
    min: number
    median: number
    p95: number
    max: number
    histogram: { from: number; to: number; rows: number }[]
  }
  truncatedRows: number
  emptyRows: number
  duplicateRows: number
  conflictingPrompts: number
  trainRows: number
  evalRows: number
  /** How good it is, in one sentence. */
  verdict: string
  tone: 'good' | 'fair' | 'poor'
}

export type RunStatus = 'new' | 'preparing' | 'running' | 'paused' | 'stopped' | 'done' | 'failed' | 'imported'

export interface RunSample {
  step: number
  prompt: string
  text: string
}

/** Something that happened in a run and is marked on its chart. */
export interface RunMark {
  step: number
  kind:
    | 'best'
    | 'early-stop'
    | 'resume'
    | 'skipped'
    | 'rescaled'
    | 'rolled-back'
    | 'arithmetic'
    | 'checkpoint'
    | 'paused'
    | 'stopped'
  text: string
}

export interface RunRecord {
  id: RunId
  name: string
  /** The settings it was started with; never changed afterwards. */
  job: Job
  model: ModelRecord
  dataset: DatasetRecord
  status: RunStatus
  createdAt: number
  updatedAt: number
  step: number
  totalSteps: number
  lastLoss: number | null
  bestStep: number | null
  bestEvalLoss: number | null
  trainRows: number
  evalRows: number
  /** What the encoded rows were, in their order. Older runs lack it. */
  rowsHash?: string
  trainableParameters: number
  backend: string
  samples: RunSample[]
  marks: RunMark[]
  checkpoints: CheckpointSummary[]
  error: ErrorReport | null
  /** What judging has found, where it was done; older runs have none of these. */
  judgement?: Judgement
  change?: WeightChange
  /** Blind comparisons in Try, oldest first. */
  votes?: Vote[]
}

export type CheckpointKind = 'last' | 'best'
export interface CheckpointSummary {
  kind: CheckpointKind
  step: number
  evalLoss: number | null
  bytes: number
  savedAt: number
}

/** A tensor outside a device. */
export interface TensorData {
  dtype: 'F32' | 'F16' | 'BF16' | 'I32' | 'I64' | 'U8'
  shape: number[]
  /** Little-endian bytes. */
  bytes: Uint8Array
}

/** All that is needed to go on exactly: never the base weights. */
export interface Checkpoint {
  meta: CheckpointMeta
  /** `adapter/…`, `adam/m/…`, `adam/v/…` by PEFT key. */
  tensors: Record<string, TensorData>
}

export interface CheckpointMeta {
  version: 1
  job: Job
  step: number
  totalSteps: number
  /** Where the batches are: see data/batches. */
  cursor: BatchCursor
  tokensSeen: number
  /** ms of training so far. */
  time: number
  bestStep: number | null
  bestEvalLoss: number | null
  evalsWithoutBest: number
  metrics: MetricColumns
  samples: RunSample[]
  marks: RunMark[]
  /** adapter_config.json of the adapter as it is stored; older checkpoints left it out where it follows from the job. */
  adapterConfig?: Record<string, unknown>
  /** The second half of the adapter's rank is what it started from, and is never trained (PiSSA). */
  hasStart?: true
  /** Factor on the loss of the next step, and the good steps since it last changed; runs in full precision have none. */
  lossScale?: { factor: number; good: number }
}

/** What computes, and what it can do. */
export interface DeviceReport {
  backend: 'webgpu' | 'wasm' | 'cpu'
  /** "NVIDIA GeForce RTX 3060", "SwiftShader", "WebAssembly, 4 threads". */
  adapter: string
  software: boolean
  features: string[]
  /** Bytes that training may plan with. */
  budget: number
  tone: 'good' | 'fair' | 'poor'
  /** Why this backend and not a faster one, and how to get that; empty where there is nothing to say. */
  note: string
  /** Largest relative error of the start-up gradient check. */
  selfTest: number
}

/** Predicted bytes at the peak of a job, by part. */
export interface MemoryForecast {
  weights: number
  adapter: number
  optimiser: number
  activations: number
  total: number
  budget: number
  fits: boolean
  /** Changes that would make it fit, best first. */
  remedies: { text: string; change: Partial<Job> }[]
}
