/** A tensor of a GGUF file, and how its bytes are made. */

import type { TensorEntry } from "./container.ts";

export interface PlannedTensor extends TensorEntry {
  readonly rows: number;
  readonly rowsPerChunk: number;
  /** Returns the bytes of the rows from `first` to `end − 1`. @throws {ModelError} if a value is not finite in the type */
  encode(first: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
}
