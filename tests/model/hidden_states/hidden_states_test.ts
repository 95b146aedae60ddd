/**
 * Tests HiddenStates, which stores the hidden states of all windows (sequences of token ids) between two
 * transformer blocks. The states must be the same whether they are stored on the device, in host memory or on
 * disk. They must also be restored from the file that a resumable run saves.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { DeviceBuffer } from "../../../src/device/backend.ts";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import type { Batch } from "../../../src/model/batches.ts";
import {
  AUTO_MEMORY_BYTES,
  HiddenStates,
  type HiddenStatesLocation,
} from "../../../src/model/hidden_states/hidden_states.ts";
import { HiddenStatesFolder } from "../../../src/model/hidden_states/hidden_states_folder.ts";
import { asFloat32 } from "../../../src/tensor/host_tensor.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";
import { onCpu } from "../../support/backends.ts";

const TOKENS = 3, HIDDEN = 4, WINDOW = TOKENS * HIDDEN;
const BATCHES: readonly Batch[] = [{ first: 0, count: 2 }, { first: 2, count: 2 }, { first: 4, count: 1 }];

const LOCATIONS: readonly [name: string, location: HiddenStatesLocation | undefined, deviceBytes: number][] =
  [
    ["on the device", undefined, 1 << 20],
    ["in host memory", undefined, 0],
    ["on the device, with a copy in a file", "memory", 1 << 20],
    ["in host memory, with a copy in a file", "auto", 0],
    ["on disk", "disk", 1 << 20],
  ];

/** Returns the initial states of a batch, in which every number is different. */
function initial({ first, count }: Batch): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: count * WINDOW }, (_, i) => first * WINDOW + i);
}

onCpu("HiddenStates", (backend) => {
  /** Adds `amount` to every state of a batch, on the host. */
  async function add(buffer: DeviceBuffer, count: number, amount: number): Promise<void> {
    const values = asFloat32(await backend().read(buffer, 0, count * WINDOW * 4)).map((x) => x + amount);
    backend().write(buffer, 0, new Uint8Array(values.buffer));
  }

  async function valuesOf(states: HiddenStates): Promise<number[]> {
    const values: number[] = [];
    await states.visit(async (buffer, { count }) => {
      values.push(...asFloat32(await backend().read(buffer, 0, count * WINDOW * 4)));
      await add(buffer, count, 1000); // visit() must discard this change
    });
    return values;
  }

  function createStates(
    folder: string,
    location: HiddenStatesLocation | undefined,
    deviceBytes: number,
  ): HiddenStates {
    const storage = location && { folder: new HiddenStatesFolder(denoFileSystem, folder), location };
    const options = { batches: BATCHES, tokens: TOKENS, hiddenSize: HIDDEN, deviceBytes, storage };
    return new HiddenStates(backend(), options);
  }

  for (const [name, location, deviceBytes] of LOCATIONS) {
    it(`persist from block to block ${name}`, () =>
      withTemporaryFolder(async (folder) => {
        const live = backend().counters.bytesLive;
        const states = createStates(folder, location, deviceBytes);
        await states.fill((batch) => Promise.resolve(initial(batch)));
        const expected = Array.from({ length: 5 * WINDOW }, (_, i) => i);
        assert.deepEqual(await valuesOf(states), expected);
        for (let block = 0; block < 3; block++) {
          assert.equal(states.nextBlock, block);
          const done: number[] = [];
          await states.update((buffer, { count }) => add(buffer, count, 10), ({ first }) => done.push(first));
          assert.deepEqual(done, [0, 2, 4]);
        }
        assert.deepEqual(await valuesOf(states), expected.map((x) => x + 30));
        states.destroy();
        assert.equal(backend().counters.bytesLive, live);
        const files = [...Deno.readDirSync(folder)].map((entry) => entry.name);
        assert.deepEqual(files, location === undefined ? [] : ["states-3.f32"]);
      }));
  }

  it("are restored from the file of an earlier run, into memory or to be read from disk", () =>
    withTemporaryFolder(async (folder) => {
      const first = createStates(folder, "memory", 0);
      await first.fill((batch) => Promise.resolve(initial(batch)));
      await first.update((buffer, { count }) => add(buffer, count, 0.5));
      const expected = await valuesOf(first);
      for (const location of ["memory", "disk"] as const) {
        for (const deviceBytes of [0, 1 << 20]) {
          const again = createStates(folder, location, deviceBytes);
          await again.load(1);
          assert.equal(again.nextBlock, 1);
          assert.deepEqual(await valuesOf(again), expected);
          again.destroy();
        }
      }
      first.destroy();
    }));

  it("stay at the last completed block if the next block fails, and can then be loaded again", () =>
    withTemporaryFolder(async (folder) => {
      for (const location of ["memory", "disk"] as const) {
        const states = createStates(folder, location, 0);
        await states.fill((batch) => Promise.resolve(initial(batch)));
        await states.update(() => {});
        const failing = states.update((_, { first }) => {
          if (first === 4) throw new Error("stop");
        });
        await assert.rejects(failing, /stop/);
        assert.equal(await new HiddenStatesFolder(denoFileSystem, folder).lastBlock(), 1);
        await states.load(1);
        assert.equal((await valuesOf(states)).length, 5 * WINDOW);
        states.destroy();
      }
    }));

  it("refuse to load a file of the wrong size or a missing file", () =>
    withTemporaryFolder(async (folder) => {
      await Deno.writeFile(`${folder}/states-2.f32`, new Uint8Array(5 * WINDOW * 4 - 1));
      const states = createStates(folder, "memory", 0);
      await assert.rejects(
        states.load(2),
        /states-2\.f32: has 239 bytes, but the hidden states of this run take 240/,
      );
      await assert.rejects(states.load(3));
      states.destroy();
    }));

  it("are stored on disk with the location `auto` only if they exceed the memory limit", () =>
    withTemporaryFolder(async (folder) => {
      const storage = { folder: new HiddenStatesFolder(denoFileSystem, folder), location: "auto" } as const;
      const count = AUTO_MEMORY_BYTES / (WINDOW * 4);
      for (const [windows, files] of [[Math.floor(count), 0], [Math.floor(count) + 1, 1]]) {
        const states = new HiddenStates(backend(), {
          batches: [{ first: windows - 1, count: 1 }],
          tokens: TOKENS,
          hiddenSize: HIDDEN,
          deviceBytes: 0,
          storage,
        });
        await states.fill((batch) => Promise.resolve(initial(batch)));
        assert.equal([...Deno.readDirSync(folder)].length, files);
        states.destroy();
      }
    }));
});
