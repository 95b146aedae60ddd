/**
 * Tests how often the bytes of a request and of its answer are copied on the host, and how often the host
 * waits for the device, for whole requests to a host with a WebGPU device. A larger figure is a regression.
 * If a figure becomes smaller, lower the number in this file.
 */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { countRequest } from "../../support/gpu_copies/count_request.ts";
import { openBehindPort } from "../../support/gpu_copies/host_in_thread.ts";
import { webgpuSkipReason } from "../../support/backends.ts";

const MIB = 2 ** 20;

/** Small copies that are not data of the tensors, as a share of the data of the smallest layer. */
const NOISE = 0.02;

describe("a request to a host with a WebGPU device", { skip: webgpuSkipReason }, () => {
  for (const dtype of ["F32", "BF16"] as const) {
    it(`in ${dtype} is copied twice on the way in, and twice on the way out because its answer is small`, async () => {
      const counts = await countRequest(() => openBehindPort(), {
        rows: 512,
        cols: 768,
        dtype,
        query: "method=sparsegpt",
      });
      const { reading, solving, answering, requestBytes, answerBytes } = counts;
      assert.ok(reading.copiedBytes <= (2 + NOISE) * requestBytes, `${reading.copiedBytes / requestBytes}`);
      assert.ok(answering.copiedBytes <= (2 + NOISE) * answerBytes, `${answering.copiedBytes / answerBytes}`);
      assert.equal(reading.waits, 1, "the checks of the values");
      // The largest weight, the diagonal, the status of the factorisation, the sums of the error and those of the
      // weights. With 16 bits also two checks of the values, before they are rounded and before they are sent, and the
      // sums of the error after the rounding.
      assert.equal(solving.waits, dtype === "F32" ? 5 : 8);
      assert.equal(answering.waits, 2, "the weights and the mask");
    });
  }

  it("waits once more whenever its body has filled the staging memory, and a large answer is copied once", async () => {
    const countWith = async (uploadBytes: number) => {
      const layer = { rows: 65_536, cols: 64, dtype: "F32", query: "method=magnitude" } as const;
      const { reading, answering, requestBytes, answerBytes } = await countRequest(
        () => openBehindPort({ uploadBytes }),
        layer,
      );
      assert.ok(reading.copiedBytes <= (2 + NOISE) * requestBytes);
      assert.ok(answering.copiedBytes <= (1 + NOISE) * answerBytes);
      assert.equal(answering.waits, 17, "16 strips of a tile of 4096 rows, and the mask");
      return reading.waits;
    };
    assert.equal(await countWith(32 * MIB), 1, "the body has 16 MiB");
    assert.equal(await countWith(8 * MIB), 3);
  });
});
