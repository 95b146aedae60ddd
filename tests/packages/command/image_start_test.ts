/**
 * Starts the host as the image does on a serverless platform, without a container engine: by the entry point and the
 * command of the Dockerfile, with the variables that a platform sets, as a user that is not root, and with nothing that
 * the host could write to. The program is the npm package, which the image has too.
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { before, describe, it } from "@std/testing/bdd";
import { freePort } from "../../../scripts/processes/child_edge.ts";
import { configOf, parseDockerfile } from "../../support/dockerfile.ts";
import { temporaryFolder } from "../../support/temporary_folder.ts";

const ROOT = new URL("../../../", import.meta.url), DEPLOY = new URL("scripts/deploy/", ROOT);
const PACKAGE = fileURLToPath(new URL("build/npm/pare-llm/", ROOT));
const HEALTHCHECK = fileURLToPath(new URL("image/healthcheck.js", DEPLOY));

const { entrypoint, cmd, user, env, healthcheck } = configOf(
  parseDockerfile(await Deno.readTextFile(new URL("Dockerfile", DEPLOY))).at(-1)!,
);
const [uid, gid] = user.split(":").map(Number);

/** A key that nobody has. */
const PARE_KEYS = "0".repeat(64);

const skip = Deno.uid() === 0 ? undefined : "only root can start a process as another user";

const folder = temporaryFolder();

describe("the image on a serverless platform", { skip }, () => {
  before(async () => {
    // The Deno of this process may lie in the home of root, which another user cannot read.
    await Deno.copyFile(Deno.execPath(), `${folder}/deno`);
    await Deno.chmod(`${folder}/deno`, 0o755);
    await Deno.chmod(folder, 0o555); // another user than root can write nothing there
  });

  /** Starts a command of the image in the folder. */
  function start(words: readonly string[], variables: Record<string, string>): Deno.ChildProcess {
    const [program, ...args] = words.map((word) =>
      word.replace("/pare/healthcheck.js", HEALTHCHECK).replace(/^\/pare\//, PACKAGE)
    );
    return new Deno.Command(program === "deno" ? `${folder}/deno` : program, {
      args,
      cwd: folder,
      clearEnv: true,
      env: {
        ...env,
        PATH: `${folder}:${Deno.env.get("PATH")}`,
        DENO_DIR: folder,
        HOME: folder,
        TMPDIR: folder,
        ...variables,
      },
      uid,
      gid,
      signal: AbortSignal.timeout(120_000), // SIGTERM ends a host that a failed test would wait for
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  }

  it("listens on the port of PORT, answers /ping with 204 and then 200, is healthy, and ends at SIGTERM", async () => {
    const PORT = String(freePort()), url = `http://127.0.0.1:${PORT}`;
    const host = start([...entrypoint, ...cmd], { PORT, PARE_KEYS, PARE_BACKEND: "cpu" });
    const output = host.output(), pings: number[] = [];
    try {
      for (
        const end = Date.now() + 60_000;
        pings.at(-1) !== 200;
        await new Promise((done) => setTimeout(done, 20))
      ) {
        const response = await fetch(`${url}/ping`).catch(() => undefined);
        await response?.body?.cancel();
        if (response) pings.push(response.status);
        assert.ok(Date.now() < end, `after 60 s /ping was answered with ${pings.at(-1)}`);
      }
      assert.deepEqual([...new Set(pings)], [204, 200]);
      assert.equal((await start(healthcheck, { PORT }).output()).code, 0);
      const refused = await fetch(`${url}/v1/layers`, { method: "POST", body: "x" });
      assert.equal((await refused.json()).code, "unauthorized");
    } finally {
      host.kill("SIGTERM");
    }
    const { code, stderr } = await output;
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    assert.equal((await start(healthcheck, { PORT }).output()).code, 1);
  });

  it("ends with exit code 3 if a GPU is required and the platform has none", async () => {
    // Without drivers the loaders of Vulkan and EGL find neither a GPU of this machine nor an emulated one.
    const variables = {
      PORT: String(freePort()),
      PARE_KEYS,
      PARE_REQUIRE_GPU: "1",
      VK_DRIVER_FILES: "/none",
      VK_ICD_FILENAMES: "/none",
      __EGL_VENDOR_LIBRARY_FILENAMES: "/none",
    };
    const { code, stderr } = await start([...entrypoint, ...cmd], variables).output();
    const text = new TextDecoder().decode(stderr);
    assert.equal(code, 3, text);
    assert.match(text, /^error: no WebGPU adapter: .*$/m);
  });
});
