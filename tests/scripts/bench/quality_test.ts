/** Tests how the bench `quality` chooses its cells and their options, and the copy that it compares all methods with. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { TARGETS } from "../../../scripts/bench/measure/targets.ts";
import {
  cellOptions,
  listCells,
  type QualityModel,
  skipReason,
} from "../../../scripts/bench/quality/cells.ts";
import { fixtureModel } from "../../../scripts/fixtures/trained_models.ts";
import { writeNearest } from "../../../scripts/prune/write_nearest.ts";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { declarePrune } from "../../../src/cli/prune/prune_options.ts";
import { readTensor } from "../../../src/model/checkpoint/tensor_source.ts";
import { openModelFolder } from "../../../src/model/model.ts";
import { linearLayers } from "../../../src/prune/block_plan.ts";
import { bytesToFloats, type FloatDtype } from "../../../src/tensor/dtype.ts";
import { roundTo } from "../../reference/pack_quantized.ts";
import { codeOf, gridOf } from "../../reference/quantization.ts";
import { assertSame } from "../../support/assert_same.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";

const MODEL: QualityModel = {
  name: "tiny",
  folder: "",
  seqlen: 8,
  calibrationWindows: 2,
  evaluationWindows: 1,
};

const TEXTS = { speeches: { calibration: "a.txt" }, stories: {}, encyclopedia: {} };

describe("listCells", () => {
  it("lists the cells that match a pattern, and one cell per target for the method without a calibration", () => {
    const namesOf = (...patterns: string[]) => listCells([MODEL], patterns).map(({ name }) => name);
    assert.deepEqual(namesOf("*/*/50/{nearest,published}"), [
      "tiny/none/50/nearest",
      "tiny/speeches/50/published",
      "tiny/mix/50/published",
    ]);
    assert.deepEqual(namesOf("other/*/*/*"), []);
  });

  it("gives every cell a name of its own", () => {
    const names = listCells([MODEL], ["*/*/*/*"]).map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
    assert.ok(names.includes("tiny/mix/2:4+4bit/alps"));
  });
});

describe("cellOptions", () => {
  it("switches off what a method does not name, so that a new default changes no cell", () => {
    const off = ["--target", "none", "--reconstruct", "0", "--damping", "0.01"];
    assert.deepEqual(cellOptions("50", "published"), [
      ...[
        "--sparsity",
        "0.5",
        "--method",
        "sparsegpt",
        "--token-weights",
        "none",
        "--validation",
        "0",
        ...off,
      ],
    ]);
    assert.deepEqual(cellOptions("4bit-g32", "unit"), [
      ...["--sparsity", "0", "--bits", "4", "--group-size", "32", "--method", "sparsegpt"],
      ...["--token-weights", "unit", "--validation", "0", ...off, "--ranges", "minmax"],
    ]);
  });

  it("lets a preset choose everything that the target leaves open", () => {
    assert.deepEqual(cellOptions("2:4", "best"), ["--pattern", "2:4", "--preset", "best"]);
  });

  it("gives llm-compressor the grid of the target, and only targets that round without pruning", () => {
    assert.deepEqual(cellOptions("2bit-g32", "peer-gptq"), ["gptq-static:2:32"]);
    assert.deepEqual(cellOptions("3bit", "peer-awq"), ["awq:3"]);
    const targets = listCells([MODEL], ["*/speeches/*/peer-awq"]).map(({ target }) => target);
    assert.deepEqual(targets, ["4bit-g32", "3bit-g32", "2bit-g32", "4bit", "3bit", "2bit"]);
  });

  it("contains only options that `pare prune` accepts", () => {
    for (const { target, method } of listCells([MODEL])) {
      const files = ["model", "--out", "out", "--calibration", "a.txt"];
      if (method !== "nearest" && !method.startsWith("peer-")) {
        declarePrune().exitOverride().parse([...files, ...cellOptions(target, method)], { from: "user" });
      }
    }
  });
});

it("skipReason() names the kind of text that this machine does not have", () => {
  assert.equal(skipReason({ calibration: "mix" }, TEXTS), "there is no calibration text of the kind stories");
  assert.equal(skipReason({ calibration: "speeches" }, TEXTS), undefined);
});

describe("writeNearest", () => {
  const { folder } = fixtureModel("opt-sotu");

  it("rounds each weight to the nearest value of the grid of its group, as computed in float64", async () => {
    await withTemporaryFolder(async (out) => {
      await writeNearest(folder, `${out}/nearest`, TARGETS["4bit-g32"].query);
      const { before, after, dtype } = await readFirstLayer(folder, `${out}/nearest`);
      let groups = 0;
      for (let first = 0; first < before.length; first += 32) {
        const weights = [...before.slice(first, first + 32)], grid = gridOf(weights, 4, false);
        // In f32 the zero of a grid that lies in the middle of two integers may be the other of the two.
        const quotient = -Math.min(0, ...weights) / grid.scale;
        if (Math.abs(quotient % 1 - 0.5) < 1e-3) continue;
        groups++;
        for (const [i, weight] of weights.entries()) {
          const actual = after[first + i];
          const code = codeOf(weight, grid, 4, Math.round(actual / grid.scale) + grid.zero);
          const expected = roundTo((code - grid.zero) * grid.scale, dtype);
          assert.ok(
            Math.abs(actual - expected) <= 2 ** -10 * Math.abs(expected),
            `${actual} and ${expected}`,
          );
        }
      }
      assert.ok(groups > 0.9 * before.length / 32);
    });
  });

  it("prunes the smallest weights, and leaves the others as they are", async () => {
    await withTemporaryFolder(async (out) => {
      await writeNearest(folder, `${out}/pruned`, { sparsity: 0.5 });
      const { before, after } = await readFirstLayer(folder, `${out}/pruned`);
      const kept = before.filter((_, i) => after[i] !== 0), pruned = before.filter((_, i) => after[i] === 0);
      assert.equal(pruned.length, before.length / 2);
      assertSame(kept, after.filter((value) => value !== 0));
      const largest = pruned.reduce((size, value) => Math.max(size, Math.abs(value)), 0);
      assert.ok(kept.every((value) => Math.abs(value) >= largest));
    });
  });
});

/** Reads the first linear layer of a model, and the same layer of its copy. */
async function readFirstLayer(folder: string, copy: string) {
  await using opened = await openModelFolder(folder, denoFileSystem);
  await using copied = await openModelFolder(copy, denoFileSystem);
  const [{ name }] = linearLayers(opened.model.spec);
  const [before, after] = await Promise.all(
    [opened, copied].map(({ model }) => readTensor(model.weights, name)),
  );
  const values = ({ data, dtype }: typeof before) => bytesToFloats(data, dtype as FloatDtype);
  return { before: values(before), after: values(after), dtype: after.dtype };
}
