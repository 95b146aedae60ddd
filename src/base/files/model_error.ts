/**
 * Reports that a file of the user is missing, malformed or not supported. The message names the file and, where there is a
 * remedy, says what would be accepted. Entry points print the message without a stack.
 */
export class ModelError extends Error {
  override readonly name = "ModelError";
}
