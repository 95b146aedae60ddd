/** Parses the Range header (RFC 9110, section 14.2). A single range of bytes is supported. Other values are ignored, as the RFC allows. */

/** A range of bytes. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/**
 * Returns the range that the header requests of a body of `size` bytes. Returns undefined if the whole body is requested, and
 * "unsatisfiable" if the range lies outside of the body.
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
  // A header whose last byte comes before the first one is invalid, so it is ignored.
  if (to !== "" && Number(to) < offset) return undefined;
  const end = to === "" ? size : Math.min(Number(to) + 1, size);
  return offset < size ? { offset, length: end - offset } : "unsatisfiable";
}
