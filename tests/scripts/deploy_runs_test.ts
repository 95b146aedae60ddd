/** Tests that the recipes of `scripts/deploy/runs` act on the exit codes of `pare`, and start commands that it accepts. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { parse } from "yaml";
import { declarePrune, type PruneOptions } from "../../src/cli/prune/prune_options.ts";
import { describeChart, HOSTS_WITH_EDGE, type Manifest, podsOf, renderChart, RUN } from "../support/chart.ts";
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

describeChart("the chart, for a run", () => {
  const run = async (...settings: string[]): Promise<Manifest> => {
    const manifests = await renderChart([...RUN, ...settings.flatMap((setting) => ["--set", setting])]);
    assert.equal(manifests.length, 1);
    return manifests[0];
  };
  /** Parses the arguments of a container as `pare prune` does. @throws {CommanderError} if it would refuse them */
  const flagsOf = ([command, ...args]: readonly string[]): PruneOptions => {
    assert.equal(command, "prune", "the arguments are those of the launcher of the image");
    return declarePrune().exitOverride().parse(args, { from: "user" }).opts();
  };

  it("acts on the exit codes of its container", async () => {
    const { spec } = await run();
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
    const disrupted = spec.podFailurePolicy.rules.filter(({ onPodConditions }: Manifest) => onPodConditions);
    const onPodConditions = [{ type: "DisruptionTarget", status: "True" }];
    assert.deepEqual(
      disrupted,
      [{ action: "Ignore", onPodConditions }],
      "pods of drained nodes do not count as failures",
    );
    assert.equal(spec.template.spec.restartPolicy, "Never", "Kubernetes requires it for a podFailurePolicy");
  });

  it("gives the pod a GPU, or the server and its key", async () => {
    const [[local], [remote]] = (await Promise.all([run(), run("run.server=https://edge.example.com")]))
      .map(podsOf).map(([{ containers }]) => containers);
    assert.equal(local.resources.limits["nvidia.com/gpu"], "1");
    assert.deepEqual([flagsOf(local.args).backend, flagsOf(local.args).server, local.env], [
      "webgpu",
      [],
      undefined,
    ]);
    assert.equal(remote.resources.limits["nvidia.com/gpu"], undefined);
    assert.deepEqual(flagsOf(remote.args).server, ["https://edge.example.com"]);
    assert.deepEqual(remote.env, [
      { name: "PARE_API_KEY", valueFrom: { secretKeyRef: { name: "pare", key: "PARE_API_KEY" } } },
    ]);
  });

  it("starts a set of hosts with a GPU on different nodes, and a client that sends its layers to all of them", async () => {
    const { kind, metadata: { name }, spec } = await run("run.hosts=3");
    assert.deepEqual([kind, spec.successPolicy], ["JobSet", {
      operator: "All",
      targetReplicatedJobs: ["client"],
    }]);
    const [hosts, client] = spec.replicatedJobs;
    assert.deepEqual(client.dependsOn, [{ name: "host", status: "Ready" }]);
    const { completions, parallelism, completionMode, template } = hosts.template.spec;
    assert.deepEqual([completions, parallelism, completionMode], [3, 3, "Indexed"]);
    assert.equal(template.spec.containers[0].resources.limits["nvidia.com/gpu"], "1");
    const [rule] = template.spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution;
    assert.deepEqual([rule.topologyKey, rule.labelSelector.matchLabels], [
      "kubernetes.io/hostname",
      template.metadata.labels,
    ]);
    const [{ containers: [container] }] = podsOf(client.template);
    // A JobSet calls a pod SET-JOB-INDEX-POD, in a domain of the cluster with the name of the set.
    const names = [0, 1, 2].map((pod) => `${name}-${hosts.name}-0-${pod}.${name}`);
    const { containerPort } = template.spec.containers[0].ports[0];
    assert.deepEqual(flagsOf(container.args).server, names.map((host) => `http://${host}:${containerPort}`));
    assert.equal(container.resources.limits["nvidia.com/gpu"], undefined);
  });

  it("waits in a queue of Kueue if it has one", async () => {
    for (const settings of [[], ["run.hosts=2"]]) {
      const free = await run(...settings), queued = await run(...settings, "run.queue=gpus");
      assert.deepEqual([free.metadata.labels, free.spec.suspend], [undefined, undefined]);
      assert.deepEqual(queued.metadata.labels, { "kueue.x-k8s.io/queue-name": "gpus" });
      assert.equal(queued.spec.suspend, true);
    }
  });

  it("takes keys only from the secret that the pages create", async () => {
    for (
      const [page, args] of [["../README.md", [...RUN, "--set", "run.hosts=2"]], [
        "../../README.md",
        HOSTS_WITH_EDGE,
      ]] as const
    ) {
      const text = await Deno.readTextFile(new URL(page, RECIPES)),
        manifests = JSON.stringify(await renderChart(args));
      const [, created] = /create secret generic pare (.*?)(?:`|\nhelm)/s.exec(text)!;
      const keys = [...created.matchAll(/--from-literal=(\w+)=/g)].map(([, key]) => key);
      const used = [...manifests.matchAll(/"(?:secretKeyRef|credentials)":\{"name":"pare","key":"(\w+)"/g)]
        .map(([, key]) => key);
      const [, mounted] = /"secretName":"pare","items":\[\{"key":"(\w+)"/.exec(manifests)!;
      assert.deepEqual(keys.toSorted(), [...new Set([...used, mounted])].toSorted(), page);
    }
  });

  it("is started by commands of the page that Helm accepts", async () => {
    const page = await Deno.readTextFile(new URL("../README.md", RECIPES));
    const commands = [...page.matchAll(/^helm install \S+ scripts\/deploy\/chart(.*)$/gm)];
    const kinds = commands.map(([, args]) => renderChart(args.trim().split(/\s+/).filter(Boolean)));
    assert.deepEqual((await Promise.all(kinds)).map(([{ kind }]) => kind), ["Job", "Job", "JobSet"]);
  });
});

describe("the task of SkyPilot", () => {
  it("runs a command that `pare prune` accepts, and starts again after exit code 4 only", async () => {
    const { run, resources } = parse(await Deno.readTextFile(new URL("sky.yaml", RECIPES)));
    const script = `deno() { printf '%s\\n' "$@"; }\n${run}`;
    const { stdout } = await new Deno.Command("bash", { args: ["-euc", script] }).output();
    const [task, pare, prune, ...args] = new TextDecoder().decode(stdout).trimEnd().split("\n");
    assert.deepEqual([task, pare, prune], ["task", "pare", "prune"]);
    const { out, backend } = declarePrune().exitOverride().parse(args, { from: "user" }).opts<PruneOptions>();
    assert.deepEqual([out, backend], ["/models/opt-125m-pruned", "webgpu"]);
    assert.equal(resources.job_recovery.recover_on_exit_codes, 4);
    assert.ok(AGAIN.includes(4));
  });
});
