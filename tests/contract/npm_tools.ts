/** The npm packages with which the contract is tested. Each runs in a process of its own, from Deno's cache instead of node_modules. */

import assert from "node:assert/strict";

/** The command of Redocly, which lints OpenAPI documents. */
export const REDOCLY = "npm:@redocly/cli@2.77.0";

/** The command that makes TypeScript types of an OpenAPI document. */
export const OPENAPI_TYPESCRIPT = "npm:openapi-typescript@7.13.0";

/** The client that uses these types. */
export const OPENAPI_FETCH = "npm:openapi-fetch@0.17.0";

/** Stops the tools from sending anything to their makers. */
const SILENT = { REDOCLY_TELEMETRY: "off", REDOCLY_SUPPRESS_UPDATE_NOTICE: "true", NO_COLOR: "1" };

/** Runs a package and returns everything that it prints. @throws {AssertionError} with its output if it fails */
export async function runPackage(name: string, args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-config", name, ...args],
    env: SILENT,
  }).output();
  const text = new TextDecoder(), output = text.decode(stdout) + text.decode(stderr);
  assert.ok(success, `${name} ${args.join(" ")}: ${output}`);
  return output;
}
