/**
 * Evaluates the conditional headers and the Range header of a request (RFC 9110, sections 13 and 14.2). Headers with
 * times of modification are ignored, because the resources of the edge have none.
 */

import type { HonoRequest } from "hono";

/** One entity tag of a list: an optional `W/`, and a quoted text without quotation marks and control characters. */
const ENTITY_TAG = /(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"/;

/** A list of entity tags. Empty items are allowed. */
const ENTITY_TAG_LIST = new RegExp(
  `^[ \\t,]*${ENTITY_TAG.source}(?:[ \\t]*,[ \\t,]*${ENTITY_TAG.source})*[ \\t,]*$`,
);

/**
 * Returns the status with which a request ends early: 412 if `If-Match` does not match, or 304 if `If-None-Match` does.
 * @param etag the strong ETag of the resource, with its quotation marks
 */
export function earlyStatus(request: HonoRequest, etag: string): 304 | 412 | undefined {
  const ifMatch = request.header("If-Match"), ifNoneMatch = request.header("If-None-Match");
  if (ifMatch !== undefined && ifMatch.trim() !== "*" && !entityTags(ifMatch).includes(etag)) return 412;
  if (ifNoneMatch === undefined) return undefined;
  // A weak tag matches too, because this comparison ignores the difference.
  const tags = entityTags(ifNoneMatch).map((tag) => tag.replace(/^W\//, ""));
  return ifNoneMatch.trim() === "*" || tags.includes(etag) ? 304 : undefined;
}

/** Returns the header `Range`, or undefined if the client's part, by `If-Range`, belongs to other bytes. */
export function honouredRange(request: HonoRequest, etag: string): string | undefined {
  const condition = request.header("If-Range");
  return condition === undefined || condition.trim() === etag ? request.header("Range") : undefined;
}

/** Returns the entity tags of a list. A malformed list has none. */
function entityTags(list: string): string[] {
  return ENTITY_TAG_LIST.test(list) ? list.match(new RegExp(ENTITY_TAG, "g")) ?? [] : [];
}

export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** Returns the range of `size` bytes, undefined for the whole body, or "unsatisfiable" outside of the body. */
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
