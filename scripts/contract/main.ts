/**
 * `deno task generate`: writes the OpenAPI documents of this version to `routes/`, and the tables of the page of the contract. Tests fail if
 * the documents or the tables are stale.
 */

import { writePage } from "../markdown_tables.ts";
import { generateDocuments } from "./documents.ts";
import { CONTRACT_PAGE, renderContractPage } from "./page.ts";

for (const { url, text } of await generateDocuments()) await Deno.writeTextFile(url, text);
await writePage(CONTRACT_PAGE, await renderContractPage());
