/** Tests that a host with a WebGPU device reads the next layer onto the device while another layer is solved. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { assertSame } from "../../support/assert_same.ts";
import { openBehindPort } from "../../support/gpu_copies/host_in_thread.ts";
import { answerOf, startHost } from "../../routes/host.ts";
import { webgpuSkipReason } from "../../support/backends.ts";
import { makeLayer } from "../../support/layers.ts";
import { file, floats } from "../../layer/bodies.ts";

describe("a host with a WebGPU device", { skip: webgpuSkipReason }, () => {
  it("uploads the next layer while another one is solved, within the same bound of staging memory", async () => {
    const rows = 512, cols = 384, bound = 4 * 2 ** 20;
    let stagingBytes = () => 0;
    const host = await startHost({
      open: () => openBehindPort({ uploadBytes: bound }, (real) => stagingBytes = () => real.stagingBytes),
    });
    const { weight, hessian } = makeLayer(rows, cols, { seed: 1 });
    const body = file({
      weight: floats("F32", [rows, cols], weight),
      hessian: floats("F32", [cols, cols], hessian),
    });
    const { solveQueue, backend } = host.device.session();
    const endSolve = await solveQueue.acquire(); // Stands for the solve of the first layer.
    const answers = [1, 2].map(() => host.send("POST", "/v1/layers", body));
    while (solveQueue.waiting < 2) await new Promise((resolve) => setTimeout(resolve, 1));
    assert.ok(backend.counters.bytesWritten >= 2 * 4 * rows * cols, "both layers are on the device");
    assert.ok(stagingBytes() <= bound, `${stagingBytes()}`);
    endSolve();
    const [first, second] = await Promise.all(answers.map(async (answer) => answerOf(await answer)));
    assertSame(first.weight.data, second.weight.data);
    await host.close();
  });
});
