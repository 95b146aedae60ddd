/** `deno task contract`: writes the OpenAPI documents of this version to `routes/`. A test fails if they are stale. */

import { generateDocuments } from "./documents.ts";

for (const { url, text } of await generateDocuments()) await Deno.writeTextFile(url, text);
