/** Puts a component on the test page; refuses to leave it there after the test. */
import { mount, unmount, type Component } from 'svelte'
import { onTestFinished } from 'vitest'
import { page } from 'vitest/browser'

/** Mounts a component and gives the page to look for it on. */
export function show<P extends Record<string, unknown>>(component: Component<P>, props: NoInfer<P>): typeof page {
  const target = document.createElement('main')
  document.body.append(target)
  const shown = mount(component, { target, props })
  onTestFinished(async () => {
    await unmount(shown)
    target.remove()
  })
  return page
}
