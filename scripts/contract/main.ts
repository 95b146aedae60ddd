/**
 * `deno task generate`: writes the OpenAPI documents of this version to `routes/`, the types of the messages for clients, and the tables of
 * the page of the contract. Tests fail if one of them is stale.
 */

import { writePage } from "../markdown_tables.ts";
import { generateDocuments } from "./documents.ts";
import { generateSources } from "./message_types.ts";
import { CONTRACT_PAGE, renderContractPage } from "./page.ts";

const generated = [...await generateSources(), ...await generateDocuments()];
for (const { url, text } of generated) await Deno.writeTextFile(url, text);
await writePage(CONTRACT_PAGE, await renderContractPage());
