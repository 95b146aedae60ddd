/** Tests that a signal to the command of the npm package, or to npx, ends every process of it, with the exit code of the command. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { descendants } from "../../../scripts/processes/process_tree.ts";
import { installCommand, startIn } from "./installed_command.ts";

/** The time in which all processes must have ended, in milliseconds. A large part of it is for a machine that is busy. */
const GONE_MS = 10_000;

const IS_LINUX = Deno.build.os === "linux";
const PRUNE = [
  ...["prune", "model", "--calibration", "calibration.txt", "--samples", "64", "--seqlen", "128"],
  ...["--backend", "cpu", "--out"],
];

const { folder } = await installCommand();

/** Whether a process exists and is not a zombie. */
function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
  } catch {
    return false;
  }
}

/** Reads a stream until `text` occurs in it, and discards the rest. */
async function waitFor(text: string, stream: ReadableStream<Uint8Array>): Promise<void> {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  for (let read = ""; !read.includes(text);) {
    const { done, value } = await reader.read();
    assert.ok(!done, `ended after: ${read}`);
    read += value;
  }
  void (async () => {
    while (!(await reader.read()).done);
  })();
}

/**
 * Starts a command, calls `stop` when it prunes, and waits until all of its processes have ended.
 * @returns the exit code of the process that was started
 */
async function stopWhilePruning(
  command: readonly string[],
  stop: (child: Deno.ChildProcess) => void,
): Promise<number> {
  const child = startIn(folder, command);
  const stdout = child.stdout.cancel();
  await waitFor("pruning 1/", child.stderr);
  const pids = descendants(child.pid).map(({ pid }) => pid);
  assert.ok(pids.length >= 1, "the command has no child process");
  stop(child);
  const { code } = await child.status;
  await stdout;
  const deadline = performance.now() + GONE_MS;
  while (pids.some(isRunning)) {
    assert.ok(performance.now() < deadline, `still running: ${pids.filter(isRunning)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return code;
}

describe("a signal to the installed command", { skip: !IS_LINUX && "reads /proc" }, () => {
  for (
    const [signal, expected] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 143], [
      "SIGUSR2",
      143,
    ]] as const
  ) {
    it(`ends it with ${expected} on ${signal}`, async () => {
      const command = [`${folder}/node_modules/.bin/pare`, ...PRUNE, `launcher-${signal}`];
      assert.equal(await stopWhilePruning(command, (child) => child.kill(signal)), expected);
    });
  }

  it("ends Deno too if the launcher is killed", async () => {
    const command = [`${folder}/node_modules/.bin/pare`, ...PRUNE, "launcher-killed"];
    assert.equal(await stopWhilePruning(command, (child) => child.kill("SIGKILL")), 137);
  });

  for (const signal of ["SIGTERM", "SIGHUP", "SIGUSR2", "SIGKILL"] as const) {
    it(`leaves no process if npx gets ${signal}`, async () => {
      const command = ["npx", "pare", ...PRUNE, `npx-${signal}`];
      assert.ok(await stopWhilePruning(command, (child) => child.kill(signal)) > 128);
    });
  }

  it("leaves no process on Ctrl-C, which a terminal sends to npx and all that it has started", async () => {
    // setsid makes a process group, like the one of a foreground command, and `kill` sends the signal to all of it.
    const command = ["setsid", "--wait", "npx", "pare", ...PRUNE, "npx-ctrl-c"];
    await stopWhilePruning(command, (child) => {
      const [{ pid }] = descendants(child.pid);
      new Deno.Command("kill", { args: ["-INT", "--", `-${pid}`] }).outputSync();
    });
    const journal = await Array.fromAsync(Deno.readDir(`${folder}/npx-ctrl-c`));
    assert.ok(journal.length > 0, "the finished layers were not kept");
  });
});
