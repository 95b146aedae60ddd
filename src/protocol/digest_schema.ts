/** The schema of a digest `sha256:HEX`, for servers and for the OpenAPI documents. */

import { z } from "zod";

/** The schema of a digest as text. */
export const digestSchema = z.string().regex(/^sha256:[0-9a-f]{64}$/, {
  error: 'must be "sha256:" and 64 lowercase hexadecimal digits',
}).meta({ description: "sha-256 of a body", example: "sha256:" + "0".repeat(64) });
