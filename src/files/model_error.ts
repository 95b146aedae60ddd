/** The error for a checkpoint, tokenizer or text that cannot be used as it is. Entry points show its message alone. */

/** Something the user gave is missing, malformed or not supported; the message names it and says what would do. */
export class ModelError extends Error {
  override readonly name = "ModelError";
}
