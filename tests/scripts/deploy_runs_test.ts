/** Tests that `scripts/deploy/runs/command_line` acts on the exit codes of `pare` as the page of the command line says. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { parse } from "yaml";
import { withTemporaryFolder } from "../support/temporary_folder.ts";

const RECIPES = new URL("../../scripts/deploy/runs/command_line/", import.meta.url);

/** The exit codes with which the same command is worth another start, and those with which it is not. */
const AGAIN = [4, 143], NEVER = [1, 2, 3];

async function writeProgram(path: string, script: string): Promise<void> {
  await Deno.writeTextFile(path, `#!/bin/sh\n${script}\n`);
  await Deno.chmod(path, 0o755);
}

/** Runs the Slurm script with a `pare` that exits with `code`. Returns the exit code, and the calls of `pare` and `scontrol`. */
function runSlurm(code: number, env: Record<string, string> = {}): Promise<{ code: number; calls: string }> {
  return withTemporaryFolder(async (folder) => {
    await writeProgram(`${folder}/srun`, 'exec "$@"');
    await writeProgram(`${folder}/pare`, `echo "pare $*" >> ${folder}/calls; exit ${code}`);
    await writeProgram(`${folder}/scontrol`, `echo "scontrol $*" >> ${folder}/calls`);
    const script = new URL("prune.sbatch", RECIPES).pathname;
    const { code: exit } = await new Deno.Command("bash", {
      args: [script, "model", "--out", "my folder"],
      env: { PATH: `${folder}:${Deno.env.get("PATH")}`, SLURM_JOB_ID: "7", ...env },
    }).output();
    return { code: exit, calls: await Deno.readTextFile(`${folder}/calls`) };
  });
}

describe("the Slurm script", { skip: Deno.build.os === "windows" && "Slurm does not run on Windows" }, () => {
  for (const code of AGAIN) {
    it(`starts again after exit code ${code}`, async () => {
      const { calls } = await runSlurm(code);
      assert.equal(calls, "pare prune model --out my folder\nscontrol requeue 7\n");
    });
  }

  for (const code of [0, ...NEVER, 130]) {
    it(`ends after exit code ${code}`, async () => {
      assert.deepEqual(await runSlurm(code), { code, calls: "pare prune model --out my folder\n" });
    });
  }

  it("gives up after 20 failures, but not after 20 time limits", async () => {
    const env = { SLURM_RESTART_COUNT: "20" };
    assert.ok(!(await runSlurm(4, env)).calls.includes("requeue"));
    assert.ok((await runSlurm(143, env)).calls.includes("requeue"));
  });
});

describe("the Kubernetes Job", () => {
  it("acts on the exit codes of its container, and starts the command of the image", async () => {
    const { spec } = parse(await Deno.readTextFile(new URL("prune_job.yaml", RECIPES)));
    const [container] = spec.template.spec.containers;
    const actionOf = (code: number): string => {
      for (const { action, onExitCodes } of spec.podFailurePolicy.rules) {
        if (!onExitCodes) continue;
        assert.deepEqual([onExitCodes.containerName, onExitCodes.operator], [container.name, "In"]);
        if (onExitCodes.values.includes(code)) return action;
      }
      return "none";
    };
    assert.deepEqual(NEVER.map(actionOf), NEVER.map(() => "FailJob"));
    assert.deepEqual(AGAIN.map(actionOf), ["Count", "Ignore"]);
    const disrupted = spec.podFailurePolicy.rules.filter((rule: { onPodConditions?: unknown }) =>
      rule.onPodConditions
    );
    const onPodConditions = [{ type: "DisruptionTarget", status: "True" }];
    assert.deepEqual(
      disrupted,
      [{ action: "Ignore", onPodConditions }],
      "pods of drained nodes do not count as failures",
    );
    assert.equal(spec.template.spec.restartPolicy, "Never", "Kubernetes requires it for a podFailurePolicy");
    assert.equal(container.command, undefined, "a command would replace the launcher of the image");
    assert.equal(container.args[0], "prune");
  });
});
