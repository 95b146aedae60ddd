/** Tests offsets past 2³² bytes in weight files and in files of hidden states. The files are simulated, so the test needs no disk space. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import { openCheckpoint } from "../../../src/model/checkpoint/checkpoint.ts";
import { HiddenStates } from "../../../src/model/hidden_states/hidden_states.ts";
import { HiddenStatesFolder } from "../../../src/model/hidden_states/hidden_states_folder.ts";
import { readTensor } from "../../../src/model/checkpoint/tensor_source.ts";
import { openCopy } from "../../../src/model/checkpoint/write/open_copy.ts";
import { planCopy } from "../../../src/model/checkpoint/write/write_plan.ts";
import { encodeHeader } from "../../../src/tensor/safetensors/encode.ts";
import { asFloat32, type HostTensor } from "../../../src/tensor/host_tensor.ts";
import { SparseFileSystem } from "../../support/sparse_file_system.ts";

/** The rows of the tensor `large`, which holds a little more than 4 GiB of zeros. The small tensor after it starts past 2³² bytes. */
const LARGE_ROWS = 2 ** 21 + 1;

function largeCheckpoint(): { fs: SparseFileSystem; smallAt: number; byteLength: number } {
  const fs = new SparseFileSystem();
  const specs = [
    { name: "large", dtype: "F16", shape: [LARGE_ROWS, 1024] },
    { name: "small", dtype: "F16", shape: [4] },
  ] as const;
  const header = encodeHeader(specs);
  const smallAt = header.bytes.byteLength + LARGE_ROWS * 1024 * 2;
  assert.ok(smallAt > 2 ** 32);
  fs.put("in/config.json", new TextEncoder().encode("{}"));
  fs.put("in/model.safetensors", header.bytes, smallAt + 8);
  fs.files.get("in/model.safetensors")?.pieces.set(smallAt, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
  return { fs, smallAt, byteLength: smallAt + 8 };
}

describe("a weight file of more than 2³² bytes", () => {
  it("is read at the right offsets", async () => {
    const { fs } = largeCheckpoint();
    const checkpoint = await openCheckpoint("in", fs);
    assert.deepEqual((await checkpoint.tensor("small")).data, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    assert.deepEqual(await checkpoint.read("small", 6, 2), Uint8Array.of(7, 8));
    assert.deepEqual(await checkpoint.read("large", 2 ** 32 + 2, 2), Uint8Array.of(0, 0));
  });

  it("is copied completely, with the replaced tensor at its offset", async () => {
    const { fs, smallAt, byteLength } = largeCheckpoint();
    const checkpoint = await openCheckpoint("in", fs);
    const open = await openCopy(planCopy(checkpoint), "out", fs);
    const small: HostTensor = { dtype: "F16", shape: [4], data: new Uint8Array(8).fill(9) };
    await open.replace("small", small);
    assert.deepEqual(await readTensor(open.tensors, "small"), small);
    const written = fs.files.get("out/model.safetensors.partial");
    assert.deepEqual(written?.pieces.get(smallAt), small.data);
    await (await open.complete()).publish();
    assert.equal(fs.files.get("out/model.safetensors")?.byteLength, byteLength);
    const copy = await openCheckpoint("out", fs);
    assert.deepEqual(await copy.tensor("small"), small);
  });

  it("is copied completely if no tensor is replaced", async () => {
    const { fs } = largeCheckpoint();
    const checkpoint = await openCheckpoint("in", fs);
    await (await (await openCopy(planCopy(checkpoint), "out", fs)).complete()).publish();
    const copy = await openCheckpoint("out", fs);
    assert.deepEqual((await copy.tensor("small")).data, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
  });
});

describe("a file of hidden states of more than 2³² bytes", () => {
  it("is written and read at the right offsets", async () => {
    const backend = await createCpuBackend();
    const fs = new SparseFileSystem();
    // `first` and `count` are numbers of windows. The hidden states of a window take 16 bytes. The batches
    // between these two are left out.
    const batches = [{ first: 0, count: 2 }, { first: 2 ** 29 + 7, count: 1 }];
    const storage = { folder: new HiddenStatesFolder(fs, "work"), location: "disk" } as const;
    const states = new HiddenStates(backend, { batches, tokens: 2, hiddenSize: 2, deviceBytes: 0, storage });
    await states.fill(({ first, count }) => Promise.resolve(new Float32Array(count * 4).fill(first + 1)));
    const offset = (2 ** 29 + 7) * 16;
    assert.equal(fs.files.get("work/states-0.f32")?.byteLength, offset + 16);
    await states.update((buffer, { first, count }) => {
      backend.write(buffer, 0, new Uint8Array(new Float32Array(count * 4).fill(first + 2).buffer));
    });
    const file = await storage.folder.open(1, offset + 16);
    assert.deepEqual(asFloat32(await file.read(offset, 16)), new Float32Array(4).fill(2 ** 29 + 9));
    assert.deepEqual(asFloat32(await file.read(16, 16)), new Float32Array(4).fill(2));
    states.destroy();
    await backend.dispose();
  });
});
