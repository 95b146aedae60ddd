/** Tests that hidden states in the folder of a host give the same bytes, survive a restart, and are never stale. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { DeviceLostError } from "../../src/device/backend.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { InUseError } from "../../src/base/files/file_error.ts";
import { StatesFolder } from "../../src/host/blocks/states_folder.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { creation, embedding, ids, metadata, STATES, TOKENS, windows } from "./block_bodies.ts";
import {
  BUDGET,
  create,
  createEvicted,
  evictAll,
  filesIn,
  nextBlock,
  OWNER,
  prune,
  withHosts,
} from "./folder_hosts.ts";
import { startHost } from "./host.ts";
import { assertSame } from "../support/assert_same.ts";

const [heldOut, ...fitted] = windows;
const flat = (rows: readonly Uint32Array[]) => ids([rows.length, TOKENS], rows.flatMap((row) => [...row]));
const divided = encode(
  { windows: flat(fitted), validation_windows: flat([heldOut]), ...embedding },
  metadata,
);

describe("the folder for hidden states", () => {
  for (
    const [what, query, body] of [
      ["of one stream", "", creation],
      ["with held-out windows and those of the dense model", "?target=dense", divided],
    ] as const
  ) {
    it(`has states ${what}, which give the same bytes after an eviction and after a restart`, () =>
      withHosts(async (folder, start) => {
        const whole = await startHost();
        await create(whole, "run", body, query);
        const expected = [await prune(whole, 0), await prune(whole, 1)];
        await whole.close();
        const host = await start(), live = host.liveBytes();
        await createEvicted(host, "run", body, query);
        assert.equal((await filesIn(folder)).length, 1);
        assert.equal(host.liveBytes(), live);
        assert.equal(await nextBlock(host), 0);
        assertSame(await prune(host, 0), expected[0]);
        assert.deepEqual(await filesIn(folder), []);
        const restarted = await start();
        assert.equal(await nextBlock(restarted), 1);
        assertSame(await prune(restarted, 1), expected[1]);
        assert.deepEqual(restarted.log, []);
      }));
  }

  it("forgets states that are deleted or replaced", () =>
    withHosts(async (folder, start) => {
      const host = await start();
      await createEvicted(host);
      assert.equal((await host.request(STATES, { method: "DELETE" })).status, 204);
      assert.equal((await host.request(STATES, { method: "DELETE" })).status, 404);
      await create(host);
      await prune(host, 0);
      await evictAll(host);
      await create(host);
      assert.deepEqual(await filesIn(folder), []);
      assert.equal(await nextBlock(await start()), 0);
    }));

  it("finds states while another request reads them from the folder", () =>
    withHosts(async (_folder, start) => {
      const found: Promise<number | undefined>[] = [];
      const host = await start({
        ...denoFileSystem,
        async remove(path) {
          await denoFileSystem.remove(path);
          found.push(nextBlock(host));
        },
      });
      await createEvicted(host);
      await prune(host, 0);
      assert.equal(found.length, 1);
      assert.notEqual(await found[0], undefined);
    }));

  it("removes the states that were written first if its budget is exceeded", () =>
    withHosts(async (folder, start) => {
      let host = await start();
      await createEvicted(host, "a");
      const [file] = await filesIn(folder), { size } = await Deno.stat(`${folder}/${file}`);
      host = await start(denoFileSystem, 2.5 * size);
      for (const name of ["b", "c"]) {
        await createEvicted(host, name);
      }
      const found = [await nextBlock(host, "a"), await nextBlock(host, "b"), await nextBlock(host, "c")];
      assert.deepEqual(found, [undefined, 0, 0]);
      host = await start(denoFileSystem, 1.5 * size);
      assert.deepEqual([await nextBlock(host, "b"), await nextBlock(host, "c")], [undefined, 0]);
      await createEvicted(host, "d");
      assert.deepEqual([await nextBlock(host, "c"), await nextBlock(host, "d")], [undefined, 0]);
    }));

  it("has the states of a device that is lost", () =>
    withHosts(async (_folder, start) => {
      const host = await start();
      await create(host);
      await prune(host, 0);
      host.device.handleFailure(new DeviceLostError("the test pulled the plug"), host.device.session());
      while (!host.device.current()) await new Promise((resolve) => setTimeout(resolve, 1));
      assert.equal(await nextBlock(host), 1);
      await prune(host, 1);
    }));

  it("gets no states from the requests of a device that is lost", () =>
    withHosts(async (folder, start) => {
      const host = await start(), session = host.device.session(), name = { owner: OWNER, name: "run" };
      await create(host);
      await session.states.use(name, () => {
        host.device.handleFailure(new DeviceLostError("the test pulled the plug"), session);
        return Promise.resolve();
      }, new AbortController().signal);
      await session.states.reserve("other work", BUDGET, { replaced: { owner: OWNER, name: "other" } });
      assert.deepEqual(await filesIn(folder), []);
    }));

  it("refuses a second host", () =>
    withHosts(async (folder, start) => {
      await start();
      const options = { fs: denoFileSystem, folder, budgetBytes: BUDGET, log: () => {} };
      await assert.rejects(StatesFolder.open(options), InUseError);
    }));
});
