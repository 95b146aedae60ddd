/** The error of the safetensors reader for an invalid file. The encoder throws a RangeError or a TypeError instead. */

import { shortMessage } from "../../base/texts.ts";

/** `malformed` means that the bytes break a rule of the format. `truncated` means that the file ends too early. */
export type SafetensorsErrorKind = "malformed" | "truncated";

/** The position of the fault in the file. A field is undefined if it does not apply. */
export interface SafetensorsFault {
  /** The full name of the tensor at fault. */
  readonly tensor?: string;
  /** The offset of the fault from the start of the file, in bytes. */
  readonly byte?: number;
}

/** Thrown when a safetensors file is malformed or truncated. */
export class SafetensorsError extends Error {
  /** The name of the class. It is the same after a program is minified. */
  override readonly name = "SafetensorsError";
  /** Whether the file breaks a rule of the format, or ends too early. */
  readonly kind: SafetensorsErrorKind;
  /** The full name of the tensor at fault, if it is one tensor. */
  readonly tensor?: string;
  /** The offset of the fault from the start of the file in bytes, if it is at one place. */
  readonly byte?: number;

  /** Makes an error. The message names the fault. */
  constructor(
    kind: SafetensorsErrorKind,
    message: string,
    fault: SafetensorsFault = {},
    options: ErrorOptions = {},
  ) {
    super(shortMessage(message), options);
    this.kind = kind;
    this.tensor = fault.tensor;
    this.byte = fault.byte;
  }
}

/** Makes the error for a file of `actual` bytes whose part `part` needs `needed` bytes. */
export function truncated(
  part: string,
  actual: number,
  needed: number,
  tensor?: string,
): SafetensorsError {
  return new SafetensorsError(
    "truncated",
    `safetensors ${part}: file ends at byte ${actual} but needs ${needed}`,
    { tensor, byte: actual },
  );
}

/** Makes the error for a file with bytes after its last tensor, which ends at byte `end` of the file. */
export function trailingBytes(end: number): SafetensorsError {
  const message = `safetensors data: bytes follow the last tensor, which ends at byte ${end}`;
  return new SafetensorsError("malformed", message, { byte: end });
}
