/** How to switch WebGPU on, in the words of the browser at hand. Refuses to touch the page: it only reads the browser's name. */

/** One or two sentences for a person. */
export function howToEnableWebGpu(agent = (globalThis.navigator as Navigator | undefined)?.userAgent ?? ''): string {
  if (/Node\.js/.test(agent) || agent === '')
    return 'Install the package "webgpu" and a Vulkan, Metal or D3D12 driver to compute on the graphics card.'
  const linux = /Linux|X11/.test(agent) && !/Android/.test(agent)
  if (/Firefox\//.test(agent))
    return 'In Firefox 141 or later open about:config, set dom.webgpu.enabled to true and reload; on Linux it needs Firefox Nightly.'
  if (/Edg\//.test(agent))
    return `In Edge open edge://settings/system, switch on graphics acceleration and restart${linux ? '; on Linux also enable edge://flags/#enable-unsafe-webgpu and #enable-vulkan' : ''}.`
  if (/Chrome\//.test(agent))
    return `In Chrome open chrome://settings/system, switch on graphics acceleration and restart${linux ? '; on Linux also enable chrome://flags/#enable-unsafe-webgpu and #enable-vulkan' : ''}. chrome://gpu says what is missing.`
  if (/Safari\//.test(agent))
    return 'In Safari use version 26 or later; in version 18, switch WebGPU on under Settings, Feature Flags.'
  return 'Use a current Chrome, Edge or Safari with graphics acceleration switched on.'
}
