/** Tests that a plan counts the hidden states of the dense model, which a run with targets stores besides those of the pruned model. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { memoryUse } from "../../src/cli/prune/plan/resources.ts";
import type { Rehearsal } from "../../src/cli/prune/plan/rehearse.ts";
import type { Backend } from "../../src/device/backend.ts";
import { openModel } from "../../src/model/model.ts";
import type { Place } from "../../src/model/hidden_states/hidden_states.ts";
import type { FolderJob } from "../../src/prune/run/folder_destination.ts";
import type { TargetSource } from "../../src/prune/run/job.ts";
import { openOptSotu } from "../support/opt_sotu.ts";

it("memoryUse() counts the states of both models with targets, and never those of the dense model on the disk", async () => {
  const checkpoint = await openOptSotu(), model = openModel(checkpoint);
  await checkpoint.close();
  const states = 1_000_000, backend = { kind: "webgpu", adapter: { software: false } } as Backend;
  /** Returns what the hidden states add on the device and in the process, in states of one model. */
  const added = (target: TargetSource, place: Place) => {
    const job = { model, windows: [new Uint32Array(8)], queryOf: () => ({}), target } as unknown as FolderJob;
    const copies = target === "dense" ? 2 : 1;
    const rehearsal = {
      statesBytes: 100,
      deviceBytes: 5000 + 100 * copies,
      stepBytes: 5000,
      processBytes: 7000,
    };
    const forward = { batches: [{ first: 0, count: 1 }], statesBytes: states, place };
    const { device, process } = memoryUse(
      job,
      [],
      forward,
      rehearsal as Rehearsal,
      { backend, hosts: 0 },
    );
    return [(device - 5000) / states, (process - 7000) / states];
  };
  assert.deepEqual(added("none", "device"), [1, 0]);
  assert.deepEqual(added("dense", "device"), [2, 0]);
  assert.deepEqual(added("none", "host"), [0, 1]);
  assert.deepEqual(added("dense", "host"), [0, 2]);
  assert.deepEqual(added("none", "disk"), [0, 0]);
  assert.deepEqual(added("dense", "disk"), [0, 1]);
});
