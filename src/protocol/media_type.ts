/** The media types of the contract, and the check that a body is declared as a safetensors file. */

import { Refusal } from "./refusal.ts";

/** A safetensors file. */
export const SAFETENSORS_TYPE = "application/vnd.safetensors";

/** The type of arbitrary bytes. It is accepted for safetensors files too. */
export const OCTET_STREAM_TYPE = "application/octet-stream";

/** An RFC 9457 problem. */
export const PROBLEM_TYPE = "application/problem+json";

/** Whether a Content-Type header is accepted for a safetensors body. Parameters of the header, such as `charset`, are ignored. */
export function isSafetensorsType(header: string | null | undefined): boolean {
  const type = header?.split(";", 1)[0].trim().toLowerCase();
  return type === SAFETENSORS_TYPE || type === OCTET_STREAM_TYPE;
}

/** Checks the Content-Type header of a safetensors body. @throws {Refusal} `unsupported_media_type` */
export function requireSafetensorsType(header: string | undefined): void {
  if (isSafetensorsType(header)) return;
  throw new Refusal(
    "unsupported_media_type",
    `Content-Type ${header ?? "(none)"}: must be ${SAFETENSORS_TYPE} or ${OCTET_STREAM_TYPE}`,
  );
}
