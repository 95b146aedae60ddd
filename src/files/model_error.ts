/** The error for a checkpoint, tokenizer or text file that cannot be used. Entry points print its message without a stack. */

/**
 * Reports that a file from the user is missing, malformed or not supported. The message names the file and, where there is a
 * remedy, says what would be accepted.
 */
export class ModelError extends Error {
  override readonly name = "ModelError";
}
