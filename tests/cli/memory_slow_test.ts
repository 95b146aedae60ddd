/** Tests that the memory of `pare prune` does not grow with the number of blocks. `deno task memory` measures the same on a large model. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { makeEmptyOpt } from "../../scripts/fixtures/make_random_opt.ts";
import { pareProcess } from "../../scripts/processes/pare_process.ts";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { withTemporaryFolder } from "../support/temporary_folder.ts";

const MIB = 1 << 20;
const HIDDEN = 512;
/** The bytes of the weights of one block in F16. Attention has 4 · HIDDEN² weights, the other layers have 8 · HIDDEN². */
const BLOCK_BYTES = 12 * HIDDEN * HIDDEN * 2;

describe(
  "pare prune of a model with many blocks",
  { skip: Deno.build.os !== "linux" && "only Linux reports the peak memory of a process" },
  () => {
    it("needs no more memory than for a model with few blocks, if the hidden states are on disk", () =>
      withTemporaryFolder(async (folder) => {
        const { calibration } = await writeSotuTexts(folder);
        const peaks: number[] = [];
        for (const blocks of [4, 64]) {
          const model = `${folder}/${blocks}`;
          const shape = {
            layers: blocks,
            hidden: HIDDEN,
            heads: 8,
            ffn: 4 * HIDDEN,
            vocabulary: 2048,
            positions: 64,
          };
          await makeEmptyOpt(model, shape);
          const { peakBytes } = await pareProcess([
            ...["prune", model, "--out", `${folder}/out`, "--overwrite", "--calibration", calibration],
            ...["--samples", "4", "--seqlen", "32", "--layers", "0.fc1", "--layers", `${blocks - 1}.fc1`],
            ...["--activations", "disk", "--method", "magnitude", "--backend", "cpu"],
          ]);
          peaks.push(peakBytes);
        }
        const [few, many] = peaks, added = 60 * BLOCK_BYTES;
        const peakText = `${few / MIB} MiB with 4 blocks, ${many / MIB} MiB with 64`;
        assert.ok(many - few < added / 4, peakText);
      }));
  },
);
