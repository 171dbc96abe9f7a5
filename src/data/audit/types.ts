/** What an audit says; the page reads it too, so it is defined in shared. Refuses to hold behaviour. */
export type * from '../../shared/audit'
