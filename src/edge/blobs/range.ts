/** Parses the Range header (RFC 9110, 14.2). One range of bytes is supported. Other values are ignored, as the RFC allows. */

/** A range of bytes. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/**
 * Returns the requested range of a body of `size` bytes, undefined for the whole body, or "unsatisfiable" for a range outside of it.
 */
export function parseRange(
  header: string | undefined,
  size: number,
): ByteRange | "unsatisfiable" | undefined {
  const [, from, to] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header?.trim() ?? "") ?? [];
  if (from === undefined || (from === "" && to === "")) return undefined;
  if (from === "") {
    const length = Math.min(Number(to), size);
    return length > 0 ? { offset: size - length, length } : "unsatisfiable";
  }
  const offset = Number(from);
  // If the last byte is before the first, the header is invalid and ignored.
  if (to !== "" && Number(to) < offset) return undefined;
  const end = to === "" ? size : Math.min(Number(to) + 1, size);
  return offset < size ? { offset, length: end - offset } : "unsatisfiable";
}
