/** The media types of the contract. */

/** A safetensors file. */
export const SAFETENSORS_TYPE = "application/vnd.safetensors";

/** A generic type, which is accepted for safetensors files too. */
export const OCTET_STREAM_TYPE = "application/octet-stream";

/** An RFC 9457 problem. */
export const PROBLEM_TYPE = "application/problem+json";

/** Whether a Content-Type header is accepted for a safetensors body. Its parameters are ignored. */
export function isSafetensorsType(header: string | null | undefined): boolean {
  const type = header?.split(";", 1)[0].trim().toLowerCase();
  return type === SAFETENSORS_TYPE || type === OCTET_STREAM_TYPE;
}
