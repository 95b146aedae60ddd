/** Checks the answers of a server against its OpenAPI document. */

import assert from "node:assert/strict";

/** The parts of an OpenAPI document that are checked. */
export interface ContractDocument {
  readonly paths: Readonly<Record<string, Readonly<Record<string, DocumentedOperation>>>>;
}

export interface DocumentedOperation {
  readonly operationId: string;
  readonly responses: Readonly<Record<string, { readonly description: string }>>;
}

/** Returns the codes that the description of an answer names. Each code stands at the beginning of a paragraph. */
export function documentedCodes(description: string): string[] {
  return [...description.matchAll(/^`(\w+)`: /gm)].map(([, code]) => code);
}

/**
 * Fails if an answer has a status that its operation does not list, or a problem whose code the status does not list. Requests that belong to
 * no operation of the document are not checked. The body of `response` stays unread.
 */
export async function assertDocumented(
  { paths }: ContractDocument,
  request: { readonly method: string; readonly path: string },
  response: Response,
): Promise<void> {
  const { pathname } = new URL(request.path, "http://server");
  const template = Object.keys(paths).find((path) => matches(path, pathname));
  const operation = template && paths[template][request.method.toLowerCase()];
  if (!operation) return;
  const { operationId, responses } = operation, { status } = response;
  assert.ok(
    String(status) in responses,
    `${operationId} answered the status ${status}, which its document lacks`,
  );
  if (response.headers.get("Content-Type") !== "application/problem+json" || request.method === "HEAD") {
    return;
  }
  const { code } = await response.clone().json();
  const codes = documentedCodes(responses[status].description);
  assert.ok(
    codes.includes(code),
    `${operationId} answered ${code}, but its document has ${codes} for ${status}`,
  );
}

function matches(template: string, pathname: string): boolean {
  return new RegExp(`^${template.replaceAll(/\{\w+\}/g, "[^/]+")}$`).test(pathname);
}
