/** Tests `pare prune` as a process that is killed or interrupted and then started again. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { assertSame } from "../support/assert_same.ts";
import { driverMessages, withoutLines } from "../support/driver_messages.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { uniform } from "../../scripts/fixtures/random.ts";
import { PAIRING_FLAGS } from "../../src/device/cpu/instruction_pairing.ts";
import { contents } from "./run_contents.ts";
import { actDuring, runPare, startPare, startPareWith, succeeded } from "./run_pare.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const MAIN = new URL("../../src/cli/main.ts", import.meta.url).pathname;

const folder = temporaryFolder();
const text = (await writeSotuTexts(folder)).calibration;

function pruneArgs(out: string, ...options: readonly string[]): string[] {
  const windows = ["--method", "sparsegpt", "--samples", "8", "--seqlen", "64", "--backend", "cpu"];
  return ["prune", OPT_SOTU, "--out", out, "--calibration", text, ...windows, ...options];
}

/** Sends `signal` to a process that prunes when it has reported `layers` layers. The first report is about the layers of earlier processes. */
async function stopAfter(layers: number, signal: Deno.Signal, child: Deno.ChildProcess) {
  const isReached = (printed: string) =>
    [...printed.matchAll(/^(?:pruning|rounding) \d+\/24.*\n/gm)].length > layers;
  const { stderr, ...status } = await actDuring(child, isReached, () => child.kill(signal));
  return { ...status, stderr: withoutLines(stderr, await driverMessages()) };
}

describe("pare prune after a kill", { skip: Deno.build.os === "windows" && "Windows has no SIGKILL" }, () => {
  for (
    const [what, seed, options] of [
      ["with default options", 1, []],
      ["with true-sequential calibration, hidden states on disk and a packed 4-bit output", 2, [
        ...["--true-sequential", "--activations", "disk"],
        ...["--bits", "4", "--format", "pack-quantized"],
      ]],
    ] as const
  ) {
    it(`writes the same bytes as an uninterrupted run after it was killed several times, ${what}`, async () => {
      const expected = `${folder}/uninterrupted-${seed}`, out = `${folder}/killed-${seed}`;
      await succeeded(runPare(...pruneArgs(expected, ...options)));
      const random = uniform(seed);
      let kills = 0, finished = 0;
      for (;;) {
        const layers = 3 + Math.floor(random() * 6);
        const { code, signal, stderr } = await stopAfter(
          layers,
          "SIGKILL",
          startPare(...pruneArgs(out, ...options)),
        );
        const done = [...stderr.matchAll(/^(?:pruning|rounding) (\d+)\/24/gm)].map(([, count]) =>
          Number(count)
        );
        assert.ok(done[0] >= finished, `had finished ${finished} layers, resumed after ${done[0]}`);
        finished = done.at(-1) ?? finished;
        if (signal !== "SIGKILL") {
          assert.equal(code, 0, stderr);
          break;
        }
        kills++;
      }
      assert.ok(kills >= 2, `was killed ${kills} times`);
      assertSame(contents(out), contents(expected));
      assert.equal(JSON.parse(Deno.readTextFileSync(`${out}/pare.json`)).resumed, kills);
    });
  }
});

describe("pare prune after Ctrl-C", {
  skip: Deno.build.os === "windows" && "on Windows a signal ends the process at once",
}, () => {
  it("exits with 130, and continues when the command is repeated, as its message says", async () => {
    const out = `${folder}/interrupted`;
    const { code, stderr } = await stopAfter(1, "SIGINT", startPare(...pruneArgs(out, "--samples", "64")));
    assert.equal(code, 130);
    assert.match(
      stderr,
      /\nstopped; the same command continues at layer \d+ of 24 in .*interrupted\/\.pare, or starts over with --restart\nerror: stopped by SIGINT\n$/,
    );
    const [, next] = /continues at layer (\d+)/.exec(stderr)!;
    assert.ok(
      !("config.json" in Object.fromEntries([...Deno.readDirSync(out)].map(({ name }) => [name, true]))),
    );
    const other = await runPare(
      ...pruneArgs(out, "--samples", "32", "--bits", "4", "--group-size", "32"),
    );
    assert.equal(other.code, 2);
    assert.match(other.stderr, /^error: .*differs from this one: --samples was 64 and is 32; .*--restart/m);
    assert.match(other.stderr, /; --group-size was absent and is 32[.;]/);
    const same = await succeeded(runPare(...pruneArgs(out, "--samples", "64")));
    assert.ok(
      same.stderr.includes(`\nresuming at layer ${next} of 24\npruning ${Number(next) - 1}/24\n`),
      same.stderr,
    );
  });
});

describe("pare prune on another number of threads, and with V8 flags", {
  skip: (Deno.build.os !== "linux" || Deno.build.arch !== "x86_64") &&
    "only V8 on x86-64 pairs instructions, and only Linux has taskset",
}, () => {
  it("continues a run that was killed, and ends in the same bytes", async () => {
    const expected = `${folder}/one-adapter`,
      out = `${folder}/two-adapters`,
      args = pruneArgs(out, "--samples", "16");
    assert.equal((await runPare(...pruneArgs(expected, "--samples", "16"))).code, 0);
    const oneThread = new Deno.Command("taskset", {
      args: ["--cpu-list", "0", Deno.execPath(), "run", "-A", "--quiet", MAIN, ...args],
      env: { NO_COLOR: "1", PARE_PROGRESS_SECONDS: "0" },
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const { signal, stderr } = await stopAfter(3, "SIGKILL", oneThread);
    assert.equal(signal, "SIGKILL", stderr);
    const paired = startPareWith({ DENO_V8_FLAGS: PAIRING_FLAGS.join(",") }, ...args);
    const { code, stderr: rest } = await stopAfter(Infinity, "SIGKILL", paired);
    assert.equal(code, 0, rest);
    assert.match(
      rest,
      /^pruning 24 layers of [^\n]+\nwarning: [^\n]+\nresuming [^\n]+\npruning [1-9]\d*\/24\n/,
    );
    const adapters = JSON.parse(Deno.readTextFileSync(`${out}/pare.json`)).layers.map((
      { adapter }: { adapter: string },
    ) => adapter);
    assert.match(adapters[0], /^WebAssembly SIMD, 1 thread$/);
    assert.match(adapters[23], /^WebAssembly SIMD in pairs, /);
    const weights = (from: string) => Deno.readFileSync(`${from}/model.safetensors`);
    assertSame(weights(out), weights(expected));
  });
});
