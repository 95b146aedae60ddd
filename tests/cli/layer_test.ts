/** Tests `pare layer`. The output file must have the same bytes whether the layer is solved in the process or on a server. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { startHost } from "../../scripts/processes/child_host.ts";
import type { Report } from "../../src/protocol/messages.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { asFloat32 } from "../../src/tensor/host_tensor.ts";
import { floats } from "../layer/bodies.ts";
import { correlatedHessian } from "../reference/hessian.ts";
import { assertSame } from "../support/assert_same.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { pareJson, runPare, words } from "./run_pare.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const ROWS = 24, COLS = 40;

const WEIGHT = floats("F32", [ROWS, COLS], normals(ROWS * COLS, 1));
const HESSIAN = floats("F32", [COLS, COLS], correlatedHessian(COLS, { seed: 2 }));

const folder = temporaryFolder();
const input = `${folder}/layer.safetensors`;
await Deno.writeFile(input, encode({ weight: WEIGHT, hessian: HESSIAN }));

function layerArgs(out: string, ...options: readonly string[]): string[] {
  return ["layer", input, "--out", `${folder}/${out}`, "--backend", "cpu", ...options];
}

describe("pare layer", () => {
  it("writes the weight and the mask, and prints the report", async () => {
    const args = layerArgs("out", "--pattern", "2:4");
    const { report, out } = await pareJson<{ report: Report; out: string }>(...args);
    assert.equal(out, `${folder}/out`);
    assert.deepEqual([report.rows, report.cols, report.pattern, report.zeros], [
      ROWS,
      COLS,
      "2:4",
      ROWS * COLS / 2,
    ]);
    const { header, tensors } = decode(await Deno.readFile(out));
    const weight = tensors.get("weight")!;
    assert.deepEqual(weight.shape, [ROWS, COLS]);
    assert.equal(asFloat32(weight.data).filter((value) => value === 0).length, report.zeros);
    assert.deepEqual(tensors.get("mask")!.shape, [ROWS, COLS / 8]);
    const { seconds: _, ...reproducible } = report;
    assert.deepEqual(JSON.parse(header.metadata.report), reproducible);
  });

  it("only rounds if it has bits and neither a sparsity nor a pattern", async () => {
    for (
      const [options, zeros] of [[[], 0], [["--sparsity", "0.5"], 480], [["--pattern", "2:4"], 480]] as const
    ) {
      const { report } = await pareJson<{ report: Report }>(
        ...layerArgs("rounded", "--bits", "4", ...options),
      );
      assert.equal(report.zeros, zeros, options.join(" "));
    }
  });

  it("prints the report as lines of text without --json", async () => {
    const { code, stdout, stderr } = await runPare(...layerArgs("lines", "--sparsity", "0.25"));
    assert.deepEqual([code, stderr], [0, ""]);
    assert.match(
      stdout,
      /^24×40 sparsegpt unstructured: 240 zeros, relative error 0\.\d+, .*\nwrote .*\/lines\n$/,
    );
  });

  it("writes the same bytes with and without a server", async () => {
    await using host = await startHost(["--backend", "cpu"]);
    await runPare(...layerArgs("local"));
    await runPare(...layerArgs("remote", "--server", host.url));
    assertSame(await Deno.readFile(`${folder}/local`), await Deno.readFile(`${folder}/remote`));
  });

  it("prints the error with which the host refuses the layer, and names the file", async () => {
    const bad = `${folder}/bad.safetensors`;
    await Deno.writeFile(
      bad,
      encode({ weight: WEIGHT, hessian: floats("F32", [2, 2], new Float32Array(4)) }),
    );
    const { code, stdout, stderr } = await runPare(...words`layer ${bad} --out ${folder}/none --backend cpu`);
    assert.deepEqual([code, stdout], [3, ""]);
    assert.match(stderr, /^error: .*\/bad\.safetensors: shape_mismatch \(422\): [^\n]+\n$/);
    await assert.rejects(Deno.stat(`${folder}/none`), Deno.errors.NotFound);
  });

  it("names a file that is not a safetensors file", async () => {
    const text = `${folder}/text`;
    await Deno.writeTextFile(text, "not tensors");
    const { code, stderr } = await runPare("layer", text, "--out", `${folder}/none`);
    assert.equal(code, 3);
    assert.match(stderr, /^error: .*\/text: this is not a safetensors file, because it begins with text$/m);
  });
});
