/** Clipping by global norm as torch.nn.utils.clip_grad_norm_ does it. Refuses to touch gradients: it only gives the factor. */

/** Factor for all gradients; 1 where the norm is within `most` or clipping is off (`most` 0). */
export function clipFactor(norm: number, most: number): number {
  return most > 0 ? Math.min(1, most / (norm + 1e-6)) : 1
}
