/** Types of setup.mjs, as far as TypeScript files use it. */
export declare const ROOT: string
export declare function ensureChromium(): string
