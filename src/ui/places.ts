/** The five places as the rail shows them: name, icon, and one line on how each stands. Refuses to navigate. */
import type { Component } from 'svelte'
import Activity from '@lucide/svelte/icons/activity'
import Box from '@lucide/svelte/icons/box'
import MessagesSquare from '@lucide/svelte/icons/messages-square'
import NotebookText from '@lucide/svelte/icons/notebook-text'
import Rows3 from '@lucide/svelte/icons/rows-3'
import { counted, percent } from '../shared/format'
import { datasets } from '../stores/datasets.svelte'
import { hub } from '../stores/hub.svelte'
import { models } from '../stores/models.svelte'
import { preview } from '../stores/preview.svelte'
import type { Place } from '../stores/route.svelte'
import { runs } from '../stores/runs.svelte'
import { training } from '../stores/training.svelte'
import { trial } from '../stores/trial.svelte'

interface PlaceInfo {
  place: Place
  label: string
  icon: Component
  /** How it stands, in one line. */
  state: () => string
  /** Whether its part of the work is done. */
  done: () => boolean
}

export const PLACE_LIST: readonly PlaceInfo[] = [
  {
    place: 'model',
    label: 'Model',
    icon: Box,
    state: () => {
      const { fetching, progress } = hub
      if (fetching && progress && progress.total > 0) return `fetching, ${percent(progress.done / progress.total)}`
      return models.chosen?.name ?? (models.loaded ? 'choose one' : '')
    },
    done: () => models.chosen !== null,
  },
  {
    place: 'data',
    label: 'Data',
    icon: Rows3,
    state: () => {
      const { chosen } = datasets
      if (!chosen) return datasets.loaded ? 'add examples' : ''
      if (chosen.mapping.format === 'unknown') return `${counted(chosen.rows, 'row')} · say what they are`
      const tone = preview.stats ? { good: 'good', fair: 'fair', poor: 'needs mending' }[preview.stats.tone] : ''
      return [counted(chosen.rows, 'row'), tone].filter(Boolean).join(' · ')
    },
    done: () => datasets.chosen !== null,
  },
  {
    place: 'train',
    label: 'Train',
    icon: Activity,
    state: () => {
      const { run, live } = training
      if (live && !run?.totalSteps) return 'getting ready'
      if (live && run) return `step ${training.step} of ${run.totalSteps}`
      if (run?.status === 'paused') return `paused at step ${training.step}`
      if (run?.status === 'done') return 'done'
      if (run?.status === 'failed') return 'failed'
      return preview.request ? 'ready' : 'not yet'
    },
    done: () => runs.list.some((run) => run.status === 'done'),
  },
  {
    place: 'try',
    label: 'Try',
    icon: MessagesSquare,
    state: () => {
      if (trial.busy) return 'answering'
      if (trial.hidden) return 'vote'
      const last = (trial.tuned.text || trial.base.text).trim()
      return last ? `“${last.slice(0, 40)}”` : trial.choices.length > 0 ? 'ask both' : 'after a run'
    },
    done: () => trial.tuned.result !== null,
  },
  {
    place: 'runs',
    label: 'Runs',
    icon: NotebookText,
    state: () => (runs.list.length > 0 ? counted(runs.list.length, 'run') : 'none yet'),
    done: () => runs.list.length > 0,
  },
]
