/** Tests of the image of a GPU host that need no container engine: the Dockerfile, and the recipes that start the image. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { fileURLToPath } from "node:url";
import config from "../../deno.json" with { type: "json" };
import { webgpuSkipReason } from "../support/backends.ts";
import { describeChart, HOSTS_WITH_EDGE, podsOf, renderChart, RUN } from "../support/chart.ts";
import { configOf, parseDockerfile } from "../support/dockerfile.ts";

const ROOT = new URL("../../", import.meta.url), DEPLOY = new URL("scripts/deploy/", ROOT);

/** The uses of the chart that start the image, with the arguments of Helm. */
const CHARTS = {
  hosts: HOSTS_WITH_EDGE,
  run: RUN,
  "run with hosts": [...RUN, "--set", "run.hosts=2"],
};

const stages = parseDockerfile(await Deno.readTextFile(new URL("Dockerfile", DEPLOY)));
const [build, image] = stages, { env, user, entrypoint, cmd, healthcheck } = configOf(image);

describe("the image", () => {
  it("copies only files that the repository has or that an earlier stage makes", async () => {
    for (const { instructions } of stages) {
      for (const { keyword, flags, text } of instructions) {
        if (keyword !== "COPY") continue;
        if (flags.from !== undefined) assert.equal(flags.from, build.name);
        else for (const path of text.split(" ").slice(0, -1)) await Deno.stat(new URL(path, ROOT));
      }
    }
  });

  it("is built by a task of the repository, with the Deno that runs the tests", () => {
    const steps = build.instructions.filter(({ keyword }) => keyword === "RUN").map(({ text }) => text);
    const tasks = steps.flatMap((step) => /deno task (\S+)/.exec(step)?.[1] ?? []);
    assert.deepEqual(tasks, ["build"]);
    assert.ok(tasks.every((task) => Object.hasOwn(config.tasks, task)));
    assert.ok(steps.some((step) => step.includes(` deno@${Deno.version.deno} `)), "the version of Deno");
  });

  it("installs no tools in its last stage, and fetches nothing when it starts", () => {
    const installed = image.instructions.filter(({ keyword }) => keyword === "RUN").map(({ text }) => text)
      .join();
    for (const tool of ["nodejs", "npm", "curl", "-dev", "gcc"]) assert.ok(!installed.includes(tool), tool);
    for (const command of [entrypoint, healthcheck]) {
      assert.ok(command.includes("--no-config"), String(command));
    }
  });

  it("runs as a user that is not root, starts the launcher, and lets the health check reach nothing but the host", () => {
    assert.match(user, /^[1-9]\d*:[1-9]\d*$/);
    assert.equal(entrypoint.at(-1), "/pare/bin/pare.mjs");
    assert.deepEqual(cmd, ["serve", "--host", "0.0.0.0"]);
    assert.ok(healthcheck.includes("--allow-net=127.0.0.1"));
  });
});

describe("the Vulkan driver of the image", () => {
  it("is NVIDIA's, which Vulkan loads in addition to those that a platform brings", async () => {
    assert.equal(env.VK_ADD_DRIVER_FILES, "/pare/nvidia_icd.json");
    const { ICD } = JSON.parse(await Deno.readTextFile(new URL("image/nvidia_icd.json", DEPLOY)));
    assert.deepEqual(ICD, { library_path: "libGLX_nvidia.so.0", api_version: "1.3.0" });
  });

  it(
    "does no harm if its library is missing, or if the platform names it too",
    { skip: webgpuSkipReason },
    async () => {
      const adapterWith = async (added: string) => {
        const { success, stdout } = await new Deno.Command(Deno.execPath(), {
          args: ["eval", "--quiet", "console.log((await navigator.gpu.requestAdapter()).info.description)"],
          env: { NO_COLOR: "1", VK_ADD_DRIVER_FILES: added },
          stderr: "null",
        }).output();
        return success && new TextDecoder().decode(stdout);
      };
      const adapter = await adapterWith("");
      assert.notEqual(adapter, false);
      const folder = "/usr/share/vulkan/icd.d", installed = await Array.fromAsync(Deno.readDir(folder));
      const missing = fileURLToPath(new URL("image/nvidia_icd.json", DEPLOY));
      for (const file of [missing, ...installed.map(({ name }) => `${folder}/${name}`)]) {
        assert.equal(await adapterWith(file), adapter, file);
      }
    },
  );
});

describeChart("the chart", () => {
  for (const [use, args] of Object.entries(CHARTS)) {
    it(`runs the image for ${use} as its own user on a read-only file system without capabilities`, async () => {
      const pods = (await renderChart(args)).flatMap(podsOf);
      assert.equal(pods.length, use === "run with hosts" ? 2 : 1);
      for (const { securityContext, containers: [container] } of pods) {
        assert.equal(`${securityContext.runAsUser}:${securityContext.runAsUser}`, user);
        assert.equal(securityContext.runAsNonRoot, true);
        assert.deepEqual(container.securityContext, {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ["ALL"] },
        });
        assert.equal(container.command, undefined, "a command would replace the launcher of the image");
      }
    });
  }
});
