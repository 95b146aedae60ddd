/** The operations of `/v1/blobs/{digest}` at an edge. A blob is a stored body that is named by its digest. */

import { z } from "zod";
import { digestSchema } from "./fields.ts";
import { EDGE_PROBLEMS, NO_QUERY, type Operation } from "./operation.ts";
import { BYTES_CONTENT } from "./tensors.ts";

const params = z.object({ digest: digestSchema.meta({ description: "The digest of the blob" }) });

const preconditions = {
  "if-match": z.string().optional().meta({ description: "ETags, one of which the blob must have" }),
  "if-none-match": z.string().optional().meta({ description: "ETags that the client has already" }),
};

const headers = z.object({
  ...preconditions,
  range: z.string().optional().meta({ description: "One range of bytes, `bytes=FROM-TO`" }),
  "if-range": z.string().optional().meta({
    description:
      "The ETag of the bytes that the client has. The range is ignored if the blob has another ETag",
  }),
});

const etag = { description: "The digest in quotation marks", schema: { type: "string" as const } };

/** The answers to a conditional request. */
const CONDITIONAL_RESPONSES = {
  304: { description: "If-None-Match has the ETag of the blob", headers: { ETag: etag } },
  412: { description: "If-Match does not have the ETag of the blob" },
};

export const READ_BLOB = {
  method: "get",
  path: "/v1/blobs/{digest}",
  operationId: "readBlob",
  summary: "Read a blob",
  description: "Answers with the bytes. The edge verified the digest when the blob was stored.",
  tags: ["Blobs"],
  scope: "read",
  request: { params, query: NO_QUERY, headers },
  responses: {
    200: { description: "The bytes", headers: { ETag: etag }, content: BYTES_CONTENT },
    206: {
      description: "The requested range",
      headers: {
        ETag: etag,
        "Content-Range": { description: "The range and the size of the blob", schema: { type: "string" } },
      },
      content: BYTES_CONTENT,
    },
    ...CONDITIONAL_RESPONSES,
    416: {
      description: "The range is outside of the blob",
      headers: { "Content-Range": { description: "The size of the blob", schema: { type: "string" } } },
    },
  },
  problems: [...EDGE_PROBLEMS, "not_found"],
} satisfies Operation;

export const HAS_BLOB = {
  ...READ_BLOB,
  method: "head",
  operationId: "hasBlob",
  summary: "Ask whether a blob is stored",
  description:
    "Answers 200 if the blob exists and will exist for at least a day. A client can then name it in a job.",
  request: { params, query: NO_QUERY, headers: z.object(preconditions) },
  responses: {
    ...CONDITIONAL_RESPONSES,
    200: {
      description: "The blob exists",
      headers: {
        ETag: etag,
        "Content-Length": { description: "The size of the blob in bytes", schema: { type: "integer" } },
      },
    },
  },
} satisfies Operation;
