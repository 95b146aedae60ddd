/** The common parts of the hostile weight files in this folder. They have the format of PyTorch's `torch.save`, a zip archive with a pickle. */

/** A file that every reader must refuse. It is created on demand and is no larger than a few MiB. */
export interface TorchAttack {
  /** A short description that completes the sentence "The reader refuses …". */
  readonly name: string;
  /** A pattern that the error message must match. */
  readonly message: RegExp;
  /** Creates the file. */
  file(): Uint8Array<ArrayBuffer>;
}
