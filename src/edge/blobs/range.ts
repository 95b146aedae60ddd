/** The Range header of one request (RFC 9110, 14.2): one range of bytes. Anything else it may hold is ignored, as the RFC allows. */

/** Consecutive bytes. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/**
 * The bytes asked for of a body of `size` bytes: undefined for all of them, "unsatisfiable" where the range is outside.
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
  // A last byte before the first makes the header invalid, and an invalid header is ignored.
  if (to !== "" && Number(to) < offset) return undefined;
  const end = to === "" ? size : Math.min(Number(to) + 1, size);
  return offset < size ? { offset, length: end - offset } : "unsatisfiable";
}
