/** The schemas of the answers of `/v1/uploads`, as the client reads them. */

import * as z from "zod/mini";
import type { CompletedUpload, Upload } from "../../protocol/answers/uploads.ts";

/** The schema of an upload in progress. */
export const receivedUpload: z.ZodMiniType<Upload> = z.object({
  upload: z.string(),
  part_size: z.int().check(z.minimum(1)),
  parts: z.array(z.object({ number: z.int().check(z.minimum(1)), url: z.url({ protocol: /^https?$/ }) })),
  expires: z.string(),
});

/** The schema of the answer to a completed upload. */
export const receivedCompletion: z.ZodMiniType<CompletedUpload> = z.object({ blob: z.string() });
