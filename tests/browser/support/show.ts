/** Puts a component on the test page; refuses to leave it there after the test. */
import { mount, unmount, type Component } from 'svelte'
import { onTestFinished } from 'vitest'
import { page } from 'vitest/browser'

type PropsOf<C> = C extends Component<infer P> ? P : never

/** Mounts a component and gives the page to look for it on. */
export function show<C>(component: C, props: PropsOf<C>): typeof page {
  const target = document.createElement('main')
  document.body.append(target)
  const shown = mount(component as Component<Record<string, unknown>>, {
    target,
    props: props as Record<string, unknown>,
  })
  onTestFinished(async () => {
    await unmount(shown)
    target.remove()
  })
  return page
}
