/** A tensor of a GGUF file with the function that makes its bytes. */

import type { TensorEntry } from "./container.ts";

export interface PlannedTensor extends TensorEntry {
  readonly rows: number;
  /** The number of rows that are encoded at a time. */
  readonly rowsPerChunk: number;
  /** Returns the bytes of rows `first` to `end − 1`. @throws {ModelError} if a value is not finite in the type */
  encode(first: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
}
