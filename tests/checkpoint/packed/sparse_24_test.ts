/** Tests that the layout sparse-24-bitmask is the one of the compressed-tensors library, and that it refuses weights that are not 2:4. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { FloatDtype } from "../../../src/tensor/dtype.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";
import { sparseWeight, twoFourWeight } from "./packed_checkpoints.ts";
import { roundTrip, roundTripWeight, stack, words } from "./round_trip.ts";

describe("pack as sparse-24-bitmask", () => {
  for (const dtype of ["F32", "F16", "BF16"] satisfies FloatDtype[]) {
    for (const cols of [4, 12, 64]) {
      it(`restores ${dtype} weights with ${cols} columns`, async () => {
        const { tensors, config } = await roundTripWeight(twoFourWeight(dtype, [40, cols]), "sparse-24");
        assert.deepEqual(tensors["block.fc1.compressed"].shape, [40, cols / 2]);
        assert.deepEqual(tensors["block.fc1.shape"].shape, [2, 1]);
        assert.equal(tensors["block.fc1.row_offsets"], undefined);
        const { format, sparsity_structure } = config.quantization_config.sparsity_config;
        assert.deepEqual([format, sparsity_structure], ["sparse-24-bitmask", "2:4"]);
      });
    }
  }

  it("stores the same zeros as PyTorch's topk in groups with fewer than two non-zero entries", async () => {
    // Each pair has the mask of `x != 0` and the mask of `x.abs().topk(2)` for a group x of four entries,
    // computed with torch 2.6.
    const groups = [[0b0000, 0b1100], [0b0001, 0b0101], [0b0010, 0b1010], [0b0100, 0b1100], [0b1000, 0b1100]];
    const values = groups.flatMap(([set]) => [0, 1, 2, 3].map((bit) => set >> bit & 1 ? 0x3c00 + bit : 0));
    const one: HostTensor = words({ dtype: "F16", shape: [1, 20], data: new Uint8Array() }, values);
    const { tensors } = await roundTripWeight(stack(one, 12), "sparse-24");
    const [a, b, c] = tensors["block.fc1.bitmask"].data;
    assert.deepEqual([a & 15, a >> 4, b & 15, b >> 4, c], groups.map(([, completed]) => completed));
  });

  it("skips weights that are not 2:4, and rejects them if they are requested by name", async () => {
    const weights = {
      "a.weight": sparseWeight("F16", [16, 32], 0.5),
      "b.weight": twoFourWeight("F16", [16, 32]),
    };
    const { result } = await roundTrip({ "model.safetensors": weights }, { format: "sparse-24" });
    assert.deepEqual(result.packed, ["b.weight"]);
    const asked = roundTrip({ "model.safetensors": weights }, { format: "sparse-24", weights: ["a.weight"] });
    await assert.rejects(asked, {
      name: "ModelError",
      message:
        /a\.weight is not 2:4: row \d+ has more than two entries that are not \+0 in columns \d+ to \d+/,
    });
  });

  it("rejects a group with −0 and two other non-zero entries, which the layout cannot store", async () => {
    const values = [0x3c00, 0x8000, 0x3c00, 0, ...Array(60).fill(0)];
    const weight = words({ dtype: "F16", shape: [8, 8], data: new Uint8Array() }, values);
    await assert.rejects(
      roundTripWeight(weight, "sparse-24"),
      /row 0 has more than two .* in columns 0 to 3/,
    );
  });

  it("rejects a weight whose number of columns is not a multiple of four", async () => {
    const weight = sparseWeight("F16", [8, 6], 1);
    await assert.rejects(roundTripWeight(weight, "sparse-24"), /its 6 columns are not a multiple of 4/);
  });
});
