/** Changes to a dataset as plain data; the page keeps them too, so they are defined in shared. Refuses behaviour. */
export type * from '../../shared/steps'
