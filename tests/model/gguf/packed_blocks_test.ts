/** Tests which codes of a packed checkpoint a GGUF file takes over. `tests/cli/export_test.ts` tests whole files. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { openDense } from "../../../src/model/formats/checkpoint/dense_checkpoint.ts";
import { rowReader } from "../../../src/model/checkpoint/row_reader.ts";
import { fittingCodes } from "../../../src/model/gguf/planned_tensor.ts";
import { TENSOR_TYPES } from "../../../src/model/gguf/tensor_types.ts";
import { withCheckpoint, writeFiles } from "../../support/checkpoint_files.ts";
import { packNamed, writeQuantizedFolder } from "../../support/quantized_checkpoints.ts";
import { randomQuantized } from "../../support/quantized_weights.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";

it("fittingCodes() takes over no codes of a weight that is stored transposed, because its groups are not inputs", () =>
  withTemporaryFolder(async (folder) => {
    const name = "x.weight", size = 64, grid = { bits: 4, groupSize: 32, symmetric: true } as const;
    const weight = { quantized: randomQuantized([size, size], grid), grid, dtype: "F16" } as const;
    const dense = { [name]: packNamed(name, weight).dense };
    await Deno.mkdir(`${folder}/dense`);
    await writeFiles(`${folder}/dense`, { "config.json": {}, "model.safetensors": dense });
    await writeQuantizedFolder(`${folder}/dense`, `${folder}/packed`, { [name]: weight });
    await withCheckpoint(`${folder}/packed`, async (checkpoint) => {
      const source = await openDense(checkpoint);
      const blocksOf = (isTransposed: boolean) => {
        const read = rowReader(source, name, [size, size], { isTransposed });
        const sizes = { rows: size, cols: size, rowsPerChunk: size };
        return fittingCodes(source, { name, ...sizes, read, isTransposed }, TENSOR_TYPES.q4_0.format);
      };
      assert.equal(typeof await blocksOf(false), "function");
      assert.equal(await blocksOf(true), "has no codes");
    });
  }));
