/** Tests that the library gguf reads the file of `pare prune --imatrix`, with the sums that transformers computes. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import { loadTokenizer, readTokens } from "../../src/model/tokenizer/tokenizer.ts";
import { pareJson } from "../cli/run_pare.ts";
import { assertClose } from "../support/assert_close.ts";
import { describePeers } from "./describe_peers.ts";

const MODEL = fileURLToPath(new URL("../fixtures/models/llama-sotu", import.meta.url));

/** The names in GGUF of the first layer of each group with the same input. */
const PLACES = {
  "self_attn.q_proj": ["attn_q", "attn_k", "attn_v"],
  "self_attn.o_proj": ["attn_output"],
  "mlp.gate_proj": ["ffn_gate", "ffn_up"],
  "mlp.down_proj": ["ffn_down"],
};

interface Imatrix {
  readonly fields: Readonly<Record<string, unknown>>;
  readonly tensors: Readonly<Record<string, readonly number[]>>;
}

await describePeers("pare prune --imatrix", (peers) => {
  it("writes the sums of the squares of the inputs of every layer of the pruned model", async () => {
    const { folder, ask } = peers(), out = `${folder}/pruned`, file = `${folder}/imatrix.gguf`;
    const { calibration } = await writeSotuTexts(`${folder}/text`);
    const options = ["--calibration", calibration, "--samples", "3", "--seqlen", "64", "--validation", "0"];
    await pareJson("prune", MODEL, "--out", out, ...options, ...[
      "--backend",
      "cpu",
      "--method",
      "magnitude",
      "--imatrix",
      file,
    ]);
    const { fields, tensors } = await ask<Imatrix>("comparisons/compare_gguf", { file });
    assert.equal(fields["general.type"], "imatrix");
    assert.deepEqual([fields["imatrix.datasets"]].flat(), ["calibration.txt"]);
    assert.deepEqual([fields["imatrix.chunk_count"], fields["imatrix.chunk_size"]], [3, 64]);
    assert.equal(Object.keys(tensors).length, 2 * 28);

    const tokens = await readTokens(await loadTokenizer(MODEL, denoFileSystem), calibration, denoFileSystem);
    const windows = calibrationWindows(tokens, { windows: 3, seqlen: 64 }).map((window) => [...window]);
    const { statistics } = await ask<{ statistics: Record<string, { tokens: number; hessian: number[] }> }>(
      "transformers_model",
      { folder: out, windows, statistics: true },
    );
    for (let block = 0; block < 4; block++) {
      for (const [layer, places] of Object.entries(PLACES)) {
        const { hessian, tokens } = statistics[`model.layers.${block}.${layer}`];
        for (const place of places) {
          const sums = tensors[`blk.${block}.${place}.weight.in_sum2`], size = sums.length;
          const diagonal = sums.map((_, i) => hessian[i * size - i * (i - 1) / 2]);
          assertClose(sums, diagonal, 1e-4, { label: `${place} of block ${block}` });
          assert.deepEqual(tensors[`blk.${block}.${place}.weight.counts`], [tokens]);
        }
      }
    }
  });
});
