/**
 * The HTTP headers of the contract: `Content-Type` of a body, `X-Request-Id` of a request and its answer, and the
 * headers of an answered layer, `Pare-Report` and `Server-Timing`.
 */

import { shortened } from "../base/texts.ts";
import { Refusal } from "./refusal.ts";
import type { Report } from "./messages.ts";

export const SAFETENSORS_TYPE = "application/vnd.safetensors";

/** The media type of arbitrary bytes. It is accepted for safetensors files too. */
export const OCTET_STREAM_TYPE = "application/octet-stream";

/** Whether a Content-Type header is accepted for a safetensors body. Its parameters, such as `charset`, are ignored. */
export function isSafetensorsType(header: string | null | undefined): boolean {
  const type = header?.split(";", 1)[0].trim().toLowerCase();
  return type === SAFETENSORS_TYPE || type === OCTET_STREAM_TYPE;
}

/** Checks the Content-Type header of a safetensors body. @throws {Refusal} `unsupported_media_type` */
export function requireSafetensorsType(header: string | undefined): void {
  if (isSafetensorsType(header)) return;
  throw new Refusal(
    "unsupported_media_type",
    `Content-Type ${shortened(header ?? "(none)")}: must be ${SAFETENSORS_TYPE} or ${OCTET_STREAM_TYPE}`,
  );
}

/** Checks that a body is not compressed by its Content-Encoding. @throws {Refusal} `unsupported_media_type` */
export function requireNoEncoding(header: string | undefined): void {
  if (header === undefined || header.trim().toLowerCase() === "identity") return;
  throw new Refusal("unsupported_media_type", `Content-Encoding ${shortened(header)}: must be identity`);
}

/** The header that carries the id of a request, in the request and in the answer. */
export const REQUEST_ID_HEADER = "X-Request-Id";

/** The form of an id that is safe in logs and headers. */
const SAFE_ID = /^[A-Za-z0-9._:-]{1,64}$/;

/** Returns the id in the client's `X-Request-Id` if it is safe, and otherwise a new one. */
export function requestIdOf(header: string | undefined): string {
  return header !== undefined && SAFE_ID.test(header) ? header : crypto.randomUUID();
}

/** Returns the headers `Pare-Report`, the report as JSON, and `Server-Timing`, the milliseconds of its phases. */
export function reportHeaders(report: Report): Record<string, string> {
  const phases = Object.entries(report.seconds);
  return {
    "Pare-Report": asciiJson(report),
    "Server-Timing": phases.map(([name, seconds]) => `${name};dur=${(seconds * 1000).toFixed(1)}`).join(", "),
  };
}

/** Encodes a value as JSON in ASCII, because headers cannot carry other characters, such as in an adapter's name. */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
