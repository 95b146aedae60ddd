/** Tests `--webgpu dawn` through the launcher, and that a run does not mix Dawn with Deno's own WebGPU. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { openBackend } from "../../src/cli/open_backend.ts";
import { runFingerprint } from "../../src/prune/run/fingerprint.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { asFloat32 } from "../../src/tensor/host_tensor.ts";
import { TESTED_DAWN } from "../../src/device/webgpu/runtimes/dawn.ts";
import { floats } from "../layer/bodies.ts";
import { correlatedHessian } from "../reference/hessian.ts";
import { assertClose } from "../support/assert_close.ts";
import { assertSame } from "../support/assert_same.ts";
import { dawnSkipReason } from "../support/dawn.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { words } from "./run_pare.ts";

const LAUNCHER = fileURLToPath(new URL("../../scripts/launcher/pare.ts", import.meta.url));
const ROWS = 24, COLS = 40;

const folder = temporaryFolder();
await Deno.writeFile(
  `${folder}/layer`,
  encode({
    weight: floats("F32", [ROWS, COLS], normals(ROWS * COLS, 1)),
    hessian: floats("F32", [COLS, COLS], correlatedHessian(COLS, { seed: 2 })),
  }),
);

/** Prunes the layer into a file through the launcher. */
async function pruneLayer(out: string, ...options: readonly string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: words`
      run -A --quiet ${LAUNCHER} layer ${folder}/layer --out ${folder}/${out} --backend webgpu
      --json ${options}
    `,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

describe("--webgpu dawn", { skip: dawnSkipReason }, () => {
  it("prunes a layer, and prints nothing but the report", async () => {
    const { code, stdout, stderr } = await pruneLayer("dawn", "--webgpu", "dawn");
    assert.equal(code, 0, stderr);
    const { report } = JSON.parse(stdout);
    assert.match(report.adapter, new RegExp(` with Dawn \\(webgpu ${TESTED_DAWN}\\)$`));

    const other = await pruneLayer("deno");
    assert.equal(other.code, 0, other.stderr);
    assert.doesNotMatch(JSON.parse(other.stdout).report.adapter, /Dawn/);
    const [dawn, deno] = await Promise.all(["dawn", "deno"].map(async (name) => {
      return decode(await Deno.readFile(`${folder}/${name}`)).tensors;
    }));
    assertSame(dawn.get("mask")!.data, deno.get("mask")!.data);
    // Both implementations round the same operations, and may only fuse and order them differently.
    assertClose(asFloat32(dawn.get("weight")!.data), asFloat32(deno.get("weight")!.data), 1e-5);
  });

  it("is refused with exit code 2 if its name is misspelt, naming the option, the rule and the value", async () => {
    const { code, stderr } = await pruneLayer("never", "--webgpu", "wgpu");
    assert.equal(code, 2);
    assert.match(stderr, /--webgpu <runtime>.*'wgpu' is invalid\. Allowed choices are deno, dawn/);
  });

  it("gives a run another fingerprint, so that it is not resumed with the other implementation", async () => {
    const fingerprints = await Promise.all((["dawn", "deno"] as const).map(async (webgpu) => {
      await using cleanup = new AsyncDisposableStack();
      const backend = await openBackend({ backend: "webgpu", webgpu }, cleanup);
      return JSON.stringify(runFingerprint({ "--sparsity": "0.5" }, backend));
    }));
    assert.match(fingerprints[0], /with Dawn/);
    assert.notEqual(fingerprints[0], fingerprints[1]);
  });
});
