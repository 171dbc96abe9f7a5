/** The table of row formats, which lives in shared because the mapping form reads it too. Refuses to add to it. */
export { asSupervised, FORMATS, formatInfo, type FormatInfo, type RoleInfo } from '../../shared/roles'
