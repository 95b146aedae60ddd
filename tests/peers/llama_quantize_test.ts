/** Tests the script with which the bench `export` lets llama.cpp round files. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { LLAMA_LIBRARIES, llamaCppSkipReason } from "../../scripts/peers/npm/llama_cpp.ts";
import { pareJson } from "../cli/run_pare.ts";
import { describePeers } from "./describe_peers.ts";

const MODEL = fileURLToPath(new URL("../fixtures/models/llama-sotu", import.meta.url));

const skip = await llamaCppSkipReason();

await describePeers("llama_model_quantize", (peers) => {
  for (const type of ["Q4_0", "Q5_0", "Q8_0"]) {
    it(
      `rounds to nearest in ${type} without an importance matrix, as gguf.quants.quantize`,
      { skip },
      async () => {
        const { folder, ask } = peers(), source = `${folder}/dense.gguf`, out = `${folder}/${type}.gguf`;
        await pareJson("export", MODEL, "--format", "gguf:f32", "--out", source, "--overwrite");
        await ask("bench/llama_quantize", { libraries: LLAMA_LIBRARIES, source, type, out });
        const { tensors } = await ask<{
          readonly tensors: Readonly<Record<string, { readonly type: string; readonly differences: number }>>;
        }>("comparisons/compare_gguf", { file: out, folder: MODEL, round: true });
        const rounded = Object.values(tensors).filter((tensor) => tensor.type === type);
        assert.equal(rounded.length, type === "Q8_0" ? 29 : 28); // with the table of tokens
        for (const [name, { differences }] of Object.entries(tensors)) assert.equal(differences, 0, name);
      },
    );
  }
});
