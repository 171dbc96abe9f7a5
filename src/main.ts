/** Puts the page on the screen and, in a build, keeps it for offline use. Refuses to load anything heavy. */
import { mount } from 'svelte'
import { route } from './stores/route.svelte'
import { theme } from './stores/theme.svelte'
import App from './ui/App.svelte'
import './ui/styles/tokens.css'
import './ui/styles/base.css'

theme.start()
route.start()
mount(App, { target: document.getElementById('app') as HTMLElement })

if (import.meta.env.PROD && 'serviceWorker' in navigator) {
  addEventListener('load', () => {
    // Without it the page works all the same, only not offline.
    navigator.serviceWorker.register('./sw.js', { updateViaCache: 'none' }).catch(() => undefined)
  })
}
