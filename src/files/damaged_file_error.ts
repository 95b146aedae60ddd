/** The error for an unfinished file whose bytes are not those that were written to it. */

/**
 * Reports that an unfinished file is damaged. The same command finds the damage when it starts again, and repeats the work that
 * the damage has destroyed.
 */
export class DamagedFileError extends Error {
  override readonly name = "DamagedFileError";
}
