/** The `content` of safetensors bodies in the OpenAPI documents. */

import { OCTET_STREAM_TYPE, SAFETENSORS_TYPE } from "../headers.ts";

/** The media types of a safetensors body. OpenAPI 3.1 describes raw bytes by the format `binary` at most. */
const BINARY = { schema: { type: "string", format: "binary" } } as const;

/** The content of an answer with raw bytes. */
export const BYTES_CONTENT = { [OCTET_STREAM_TYPE]: BINARY };

/** The content of an answer with a safetensors file. */
export const SAFETENSORS_CONTENT = { [SAFETENSORS_TYPE]: BINARY };

/** Returns a safetensors body of a request. @param tensors the tensors of the body, as a Markdown table */
export function safetensorsBody(tensors: string) {
  return {
    required: true,
    description: `A safetensors file with these tensors. The request needs a Content-Length.\n\n${tensors}`,
    content: { [SAFETENSORS_TYPE]: BINARY, [OCTET_STREAM_TYPE]: BINARY },
  } as const;
}
