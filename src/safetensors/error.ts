/**
 * The one error that reading a safetensors file raises. Routes map its kind to a code: `malformed` is
 * `malformed_safetensors`, `truncated` is `truncated_body`. Errors of the source itself pass through as they
 * are, and misuse of the encoder is a RangeError or TypeError, since there the caller is at fault.
 */

/** `malformed`: the bytes break a rule of the format. `truncated`: they end too early. */
export type SafetensorsErrorKind = "malformed" | "truncated";

/** Where in a file the fault lies, as far as it is known. */
export interface SafetensorsFault {
  /** The tensor at fault, its whole name. */
  readonly tensor?: string;
  /** Byte offset from the start of the file. */
  readonly byte?: number;
}

/** A safetensors file that cannot be read. */
export class SafetensorsError extends Error {
  override readonly name = "SafetensorsError";
  readonly kind: SafetensorsErrorKind;
  readonly tensor?: string;
  readonly byte?: number;

  constructor(
    kind: SafetensorsErrorKind,
    message: string,
    fault: SafetensorsFault = {},
    options: ErrorOptions = {},
  ) {
    super(message, options);
    this.kind = kind;
    this.tensor = fault.tensor;
    this.byte = fault.byte;
  }
}

/** Characters of a file's own text that a message may repeat: enough for any real tensor name. */
const MAX_QUOTED = 120;

/** A value from the file as JSON for a message, cut short so that a hostile file cannot swell the answer. */
export function quote(value: unknown): string {
  const text = JSON.stringify(value) ?? "undefined";
  return text.length <= MAX_QUOTED ? text : `${text.slice(0, MAX_QUOTED)}…`;
}

/** The error for a file that ends at byte `reached` where `expected` bytes were due. */
export function truncated(
  part: string,
  reached: number,
  expected: number,
  tensor?: string,
): SafetensorsError {
  return new SafetensorsError(
    "truncated",
    `safetensors ${part}: file ends at byte ${reached} but needs ${expected}`,
    { tensor, byte: reached },
  );
}

/** The error for a file that goes on after its last tensor, which ends at byte `end`. */
export function trailingBytes(end: number): SafetensorsError {
  const message = `safetensors data: bytes follow the last tensor, which ends at byte ${end}`;
  return new SafetensorsError("malformed", message, { byte: end });
}
