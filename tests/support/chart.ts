/** Renders the chart of `scripts/deploy` with Helm. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { parseAllDocuments } from "yaml";
import { HELM, helmSkipReason } from "../../scripts/peers/npm/helm.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** A parsed manifest. It has no type, because the tests check its shape. */
// deno-lint-ignore no-explicit-any
export type Manifest = any;

/** The arguments of Helm for hosts with an edge. */
export const HOSTS_WITH_EDGE = ["--set", "hosts.edge=https://edge.example.com"];

/** The arguments of Helm for a run that prunes a model. */
export const RUN = ["--values", "scripts/deploy/runs/run.yaml"];

const missing = await helmSkipReason();

/** Declares a suite that renders the chart. Without Helm it is skipped, and says so. */
export function describeChart(name: string, body: () => void): void {
  if (missing) describe(name, () => it(`is skipped: ${missing}`, { skip: missing }, () => {}));
  else describe(name, body);
}

/** Renders the release `pare-host`. Each of `args` is one argument of `helm template`. */
export async function renderChart(args: readonly string[]): Promise<Manifest[]> {
  const { code, stdout, stderr } = await new Deno.Command(HELM, {
    args: ["template", "pare-host", "scripts/deploy/chart", ...args],
    cwd: ROOT,
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  const documents = parseAllDocuments(new TextDecoder().decode(stdout));
  for (const { errors } of documents) assert.deepEqual(errors, []);
  return documents.map((document) => document.toJS()).filter(Boolean);
}

/** Returns the specifications of the pods that a manifest creates. */
export function podsOf({ kind, spec }: Manifest): Manifest[] {
  if (kind !== "JobSet") return spec?.template ? [spec.template.spec] : [];
  return spec.replicatedJobs.flatMap(({ template }: Manifest) => podsOf(template));
}
