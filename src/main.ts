/** Puts the page on the screen. Refuses to load anything heavy. */
import { mount } from 'svelte'
import { route } from './stores/route.svelte'
import { theme } from './stores/theme.svelte'
import App from './ui/App.svelte'
import './ui/styles/tokens.css'
import './ui/styles/base.css'

theme.start()
route.start()
mount(App, { target: document.getElementById('app') as HTMLElement })
