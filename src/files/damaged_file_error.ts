/** The error for an unfinished file whose bytes are not those that were written to it. */

/**
 * Reports that an unfinished file is damaged. When the same command starts again, it finds the damage and repeats the lost work.
 */
export class DamagedFileError extends Error {
  override readonly name = "DamagedFileError";
}
