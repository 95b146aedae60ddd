/** The OpenAPI documents of a host and of an edge, as they are committed beside the page of the contract. */

import { createEdge } from "../../src/edge/app.ts";
import { edgeDocument } from "../../src/edge/openapi.ts";
import { startHostServices } from "../../src/host/host_services.ts";
import { createApp } from "../../routes/app.ts";

export interface CommittedDocument {
  readonly url: URL;
  readonly text: string;
}

/** Generates the documents of this version. No device is needed, because a document does not depend on it. */
export async function generateDocuments(): Promise<CommittedDocument[]> {
  const services = await startHostServices(() => Promise.reject(new Error("documents need no device")));
  const host = await (await createApp(services).request("/openapi.json")).json();
  return [committed("openapi.json", host), committed("openapi.edge.json", edgeDocument(createEdge()))];
}

function committed(name: string, document: unknown): CommittedDocument {
  return {
    url: new URL(`../../routes/${name}`, import.meta.url),
    text: JSON.stringify(document, null, 2) + "\n",
  };
}
