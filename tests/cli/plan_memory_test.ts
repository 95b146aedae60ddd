/** Tests that a plan counts the hidden states of the dense model, which a run with targets stores, and the second statistics of several parts. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { memoryUse } from "../../src/cli/prune/plan/resources.ts";
import type { Rehearsal } from "../../src/cli/prune/plan/rehearse.ts";
import type { Backend } from "../../src/device/backend.ts";
import { openModel } from "../../src/model/model.ts";
import { BlockPlan } from "../../src/prune/block_plan.ts";
import type { Place } from "../../src/model/hidden_states/hidden_states_store.ts";
import type { FolderJob } from "../../src/prune/run/folder_destination.ts";
import type { RunOptions } from "../../src/protocol/run/options.ts";
import { openOptSotu } from "../support/opt_sotu.ts";

const checkpoint = await openOptSotu(), model = openModel(checkpoint), plan = new BlockPlan(model.spec, {});
await checkpoint.close();
const backend = { kind: "webgpu", adapter: { software: false } } as Backend;

it("memoryUse() counts the states of both models with targets, but never counts states of the dense model on the disk", () => {
  const states = 1_000_000;
  /** Returns the memory that the hidden states add on the device and in the process, as a multiple of the states of one model. */
  const added = (target: RunOptions["target"], place: Place) => {
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
      plan,
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

it("memoryUse() counts the hidden states of both models that are compared on a text, up to 4 GiB", () => {
  const stepBytes = 5000,
    rehearsal = { statesBytes: 0, deviceBytes: 5000, stepBytes, processBytes: 7000 } as Rehearsal;
  const forward = { batches: [{ first: 0, count: 1 }], statesBytes: 0, place: "device" } as const;
  const use = (evaluatedWindows: readonly number[]) => {
    const windows = [new Uint32Array(256)];
    const job = { model, windows, queryOf: () => ({}), evaluatedWindows } as unknown as FolderJob;
    const device = { ...backend, maxBufferBytes: 1 << 30 } as Backend;
    return memoryUse(job, [], plan, forward, rehearsal, { backend: device, hosts: 0 });
  };
  const windowBytes = 4 * 256 * model.spec.hiddenSize, onDevice = Math.floor(2 ** 30 / windowBytes);
  const headBytes = (windows: number) => use([windows]).device - stepBytes - 2 * windows * windowBytes;
  // Batches of the same size have the same head.
  assert.equal(headBytes(onDevice), headBytes(onDevice - 1));
  assert.equal(use([onDevice]).device - use([onDevice - 1]).device, 2 * windowBytes);
  assert.equal(
    use([1, onDevice]).device,
    use([onDevice]).device,
    "the texts are measured one after the other",
  );
  const onHost = (windows: number) => use([windows]).process - use([1]).process;
  assert.equal(onHost(onDevice), 0);
  assert.equal(onHost(onDevice + 1), 2 * (onDevice + 1) * windowBytes);
  assert.equal(onHost(10 * onDevice), 4 * onDevice * windowBytes);
});

it("memoryUse() counts second statistics only for windows of several parts", () => {
  const rehearsal = { statesBytes: 0, deviceBytes: 5000, stepBytes: 5000, processBytes: 7000 } as Rehearsal;
  const forward = { batches: [{ first: 0, count: 1 }], statesBytes: 0, place: "device" } as const;
  const deviceBytes = (fitted: number, heldOut: number, target: RunOptions["target"] = "none") => {
    const windows = (count: number) => Array.from({ length: count }, () => new Uint32Array(8));
    const calibration = { windows: windows(fitted), validationWindows: windows(heldOut), target };
    const job = { model, queryOf: () => ({}), ...calibration } as unknown as FolderJob;
    return memoryUse(job, [], plan, forward, rehearsal, { backend, hosts: 0 }).device;
  };
  // Three groups of a block have inputs of the hidden size, and the group of fc2 has larger inputs.
  const [[{ group: [{ inFeatures: hidden }] }], inner] = [plan.allRounds(0)[0], 4];
  const sums = 4 * (3 * hidden ** 2 + (inner * hidden) ** 2);
  assert.equal(deviceBytes(16, 16), 5000);
  assert.equal(deviceBytes(17, 16), 5000 + sums);
  assert.equal(deviceBytes(17, 17), 5000 + 2 * sums);
  assert.ok(deviceBytes(17, 16, "dense") >= 5000 + 2 * sums);
});
