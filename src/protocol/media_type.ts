/** The media types of the contract. */

/** A safetensors file. */
export const SAFETENSORS_TYPE = "application/vnd.safetensors";

/** What a client that knows no better may call a safetensors file. */
export const OCTET_STREAM_TYPE = "application/octet-stream";

/** An RFC 9457 problem. */
export const PROBLEM_TYPE = "application/problem+json";

/** Whether a Content-Type header names a safetensors body; its parameters do not matter. */
export function isSafetensorsType(header: string | null | undefined): boolean {
  const type = header?.split(";", 1)[0].trim().toLowerCase();
  return type === SAFETENSORS_TYPE || type === OCTET_STREAM_TYPE;
}
