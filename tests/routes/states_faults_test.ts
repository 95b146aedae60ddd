/** Tests that the folder of a host never gives wrong hidden states, whatever happens to its files and its disk. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { FileError } from "../../src/base/files/file_error.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { fullAfter, killedAfter } from "../support/failing_file_system.ts";
import { assertProblem } from "./assert_problem.ts";
import { creation, PRUNE, pruning, STATES } from "./block_bodies.ts";
import { createEvicted, filesIn, nextBlock, withHosts } from "./folder_hosts.ts";

describe("the folder for hidden states", () => {
  it("removes a file that is damaged, cut off, or of another name, and the states are not found", () =>
    withHosts(async (folder, start) => {
      let host = await start();
      await createEvicted(host, "b");
      const [other] = await filesIn(folder);
      await createEvicted(host);
      const path = `${folder}/${(await filesIn(folder)).find((name) => name !== other)}`;
      const whole = await Deno.readFile(path), flipped = (at: number) => whole.with(at, whole[at] ^ 1);
      const text = new TextDecoder("latin1").decode(whole), members = ["next_block", "heldOut", "model"];
      const damages = [
        ...[0, 9, 40, whole.length >> 1, whole.length - 1].map(flipped),
        ...members.map((member) => flipped(text.indexOf(member))),
        whole.subarray(0, 4),
        whole.subarray(0, whole.length - 1),
        new Uint8Array([...whole, 0]),
        await Deno.readFile(`${folder}/${other}`),
      ];
      for (const [index, damage] of damages.entries()) {
        await Deno.writeFile(path, damage);
        host = await start();
        await assertProblem(await host.send("POST", PRUNE, pruning), "states_not_found");
        assert.equal(host.log.length, 1, `damage ${index}`);
        assert.deepEqual(await filesIn(folder), [other], `damage ${index}`);
      }
    }));

  it("describes no states whose description is damaged", () =>
    withHosts(async (folder, start) => {
      const host = await start();
      await createEvicted(host);
      const [file] = await filesIn(folder), whole = await Deno.readFile(`${folder}/${file}`);
      const text = new TextDecoder("latin1").decode(whole);
      const digit = text.indexOf(":", text.indexOf("next_block")) + 1;
      await Deno.writeFile(`${folder}/${file}`, whole.with(digit, whole[digit] ^ 1));
      assert.equal(await nextBlock(host), undefined);
    }));

  it("does not use states of another device, which would continue with other bits", () =>
    withHosts(async (folder, start) => {
      const host = await start();
      await createEvicted(host);
      const restarted = await start(undefined, undefined, async () => {
        const backend = await createCpuBackend();
        return Object.assign(backend, {
          adapter: { ...backend.adapter, name: "another library, 2 threads" },
        });
      });
      assert.equal(await nextBlock(restarted), undefined);
      assert.deepEqual(await filesIn(folder), []);
      assert.match(
        String(restarted.log[0].fault),
        /has states of cpu \(.*\), and the device is cpu \(another library\)$/,
      );
    }));

  it("leaves no file if it cannot flush the folder, because the file would become stale", () =>
    withHosts(async (folder, start) => {
      let isBroken = true;
      const syncFolder = async (path: string) => {
        if (isBroken) throw new Error("too many files are open");
        await denoFileSystem.syncFolder(path);
      };
      const host = await start({ ...denoFileSystem, syncFolder });
      await createEvicted(host);
      assert.deepEqual(await filesIn(folder), []);
      isBroken = false;
      await createEvicted(host);
      assert.equal(await nextBlock(host), 0);
    }));

  it("does not forget a file that it can neither read nor remove", () =>
    withHosts(async (_folder, start) => {
      let isBroken = false;
      const orBroken = async <T>(path: string, operation: () => Promise<T>) => {
        if (isBroken) throw new FileError(path, "EIO", "the disk does not answer");
        return await operation();
      };
      const host = await start({
        ...denoFileSystem,
        open: (path) => orBroken(path, () => denoFileSystem.open(path)),
        remove: (path) => orBroken(path, () => denoFileSystem.remove(path)),
      });
      await createEvicted(host);
      isBroken = true;
      await assertProblem(await host.request(STATES), "internal");
      await assertProblem(await host.send("PUT", STATES, creation), "internal");
      isBroken = false;
      assert.equal(await nextBlock(host), 0);
    }));

  it("replaces and evicts states whose file another program has removed", () =>
    withHosts(async (folder, start) => {
      const host = await start();
      await createEvicted(host);
      for (const file of await filesIn(folder)) await Deno.remove(`${folder}/${file}`);
      await createEvicted(host);
      assert.equal(await nextBlock(host), 0);
    }));

  it("loses states that a full disk cannot take, and leaves no file", () =>
    withHosts(async (folder, start) => {
      const host = await start(fullAfter(denoFileSystem, 1000));
      await createEvicted(host);
      assert.equal(await nextBlock(host), undefined);
      assert.deepEqual(await filesIn(folder), []);
      assert.deepEqual(host.log.map(({ event, name }) => [event, name]), [["states not stored", "run"]]);
    }));

  it("removes the oldest states if the disk is full below the budget, and says so", () =>
    withHosts(async (folder, start) => {
      await createEvicted(await start(), "a");
      const [file] = await filesIn(folder), { size } = await Deno.stat(`${folder}/${file}`);
      await Deno.remove(`${folder}/${file}`);
      const host = await start(fullAfter(denoFileSystem, 2.5 * size));
      for (const name of ["a", "b", "c"]) await createEvicted(host, name);
      const found = [await nextBlock(host, "a"), await nextBlock(host, "b"), await nextBlock(host, "c")];
      assert.deepEqual(found, [undefined, 0, 0]);
      assert.deepEqual(host.log.map(({ event, file }) => [event, file]), [["oldest states removed", file]]);
      assert.match(String(host.log[0].fault), /no space is left on the disk$/);
    }));

  it("has whole states or none if the host is killed while they are written", () =>
    withHosts(async (folder, start) => {
      const found = new Set<number | undefined>();
      for (let operations = 1; operations < 12; operations++) {
        const host = await start(killedAfter(denoFileSystem, operations));
        await createEvicted(host);
        const restarted = await start();
        found.add(await nextBlock(restarted));
        assert.ok((await filesIn(folder)).every((name) => name.endsWith(".safetensors")));
        await restarted.request(STATES, { method: "DELETE" });
      }
      assert.deepEqual(found, new Set([undefined, 0]));
    }));
});
