/** Tests `deno task audit` against an advisory service on this machine. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

const SCRIPT = fileURLToPath(new URL("../../scripts/audit.ts", import.meta.url));

/** Runs the task with a registry whose advisory service gives this answer. */
async function audit(answer: () => Response) {
  const asked: string[] = [];
  await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, async (request) => {
    asked.push(...Object.keys(await request.json()));
    return answer();
  });
  const registry = `http://127.0.0.1:${server.addr.port}/`;
  return { ...await auditAt(registry), asked };
}

async function auditAt(registry: string) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", SCRIPT],
    cwd: fileURLToPath(new URL("../../", import.meta.url)),
    env: { NPM_CONFIG_REGISTRY: registry },
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** An advisory against every version of zod. */
function advisory(severity: string): Response {
  const url = "https://advisories.example/1", title = "a planted vulnerability";
  return Response.json({
    zod: [{ id: 1, url, title, severity, vulnerable_versions: ">=0", cwe: [], cvss: {} }],
  });
}

describe("deno task audit", () => {
  it("asks about the packages of deno.lock, and ends with 0 if nothing is known against them", async () => {
    const { code, stdout, asked } = await audit(() => Response.json({}));
    assert.deepEqual([code, stdout], [0, "No known vulnerabilities found\n"]);
    assert.ok(asked.includes("hono") && asked.includes("zod"));
  });

  it("ends with 1 for high and critical severity, and names the package", async () => {
    for (const severity of ["high", "critical"]) {
      const { code, stdout } = await audit(() => advisory(severity));
      assert.equal(code, 1);
      assert.match(stdout, /a planted vulnerability[^]*zod[^]*Found 1 vulnerabilit/);
    }
  });

  it("ends with 0 for moderate severity", async () => {
    assert.equal((await audit(() => advisory("moderate"))).code, 0);
  });

  it("ends with 3 and says so if the service cannot be reached or does not answer as expected", async () => {
    const refused = Deno.listen({ port: 0, hostname: "127.0.0.1" }), { port } = refused.addr;
    refused.close();
    for (
      const { code, stderr } of [
        await auditAt(`http://127.0.0.1:${port}/`),
        await audit(() => new Response("no", { status: 405 })),
      ]
    ) {
      assert.equal(code, 3, stderr);
      assert.match(
        stderr,
        /^audit: the advisory service of the npm registry gave no usable answer, so nothing was checked \(/,
      );
    }
  });
});
