/** How judging takes turns with other work on the device. Refuses to know what the other work is. */

/** Runs a piece of work on the device while nothing else does. */
export type Turn = <T>(work: () => Promise<T>) => Promise<T>
