/** Tests hidden states in the folder of a host: that they give the same bytes, survive a restart, and are never wrong. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { DeviceLostError } from "../../src/device/backend.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { FileError, InUseError } from "../../src/base/files/file_error.ts";
import type { WorkFileSystem } from "../../src/base/files/file_system.ts";
import { StatesFolder } from "../../src/host/blocks/states_folder.ts";
import type { LogEntry } from "../../src/host/metrics.ts";
import { blockTensors } from "../../src/model/families/check_tensors.ts";
import { decodeBlock } from "../../src/client/blocks/block_answer.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { fullAfter, killedAfter } from "../support/failing_file_system.ts";
import { withTemporaryFolder } from "../support/temporary_folder.ts";
import { assertProblem } from "./assert_problem.ts";
import {
  BLOCKS,
  creation,
  embedding,
  ids,
  layers,
  metadata,
  pruning,
  spec,
  STATES,
  tensorsOf,
  TOKENS,
  windows,
} from "./block_bodies.ts";
import { startHost, type TestHost } from "./host.ts";

const BUDGET = 2 ** 30, OWNER = "";
const [linear] = spec.block(1).groups[0], secondName = `${spec.block(1).prefix(1)}${linear.name}.weight`;
const second = encode(await tensorsOf(blockTensors(spec, 1)), layers({ [secondName]: { sparsity: 0.5 } }));
const [heldOut, ...fitted] = windows;
const flat = (rows: readonly Uint32Array[]) => ids([rows.length, TOKENS], rows.flatMap((row) => [...row]));
const divided = encode(
  { windows: flat(fitted), validation_windows: flat([heldOut]), ...embedding },
  metadata,
);

/** Runs `body` with a folder and a function that starts a host which uses it. The host is closed before the next one starts. */
async function withHosts(
  body: (
    folder: string,
    start: (fs?: WorkFileSystem, budgetBytes?: number) => Promise<TestHost & { readonly log: LogEntry[] }>,
  ) => Promise<void>,
): Promise<void> {
  await withTemporaryFolder(async (parent) => {
    const folder = `${parent}/states`;
    let close = async () => {};
    await body(folder, async (fs = denoFileSystem, budgetBytes = BUDGET) => {
      await close();
      const log: LogEntry[] = [];
      const statesFolder = await StatesFolder.open({
        fs,
        folder,
        budgetBytes,
        log: (entry) => void log.push(entry),
      });
      const host = await startHost({ device: { statesBytes: BUDGET, statesFolder } });
      close = async () => {
        close = async () => {};
        await host.close();
        await statesFolder[Symbol.asyncDispose]();
      };
      return { ...host, log };
    });
    await close();
  });
}

/** Makes the host move all states that no request uses to its folder. */
async function evictAll({ device }: TestHost): Promise<void> {
  const own = { replaced: { owner: OWNER, name: "other" } };
  using _room = await device.session().states.reserve("other work", BUDGET, own);
}

async function create(host: TestHost, name = "run", body = creation, query = ""): Promise<void> {
  assert.equal((await host.send("PUT", `/v1/states/${name}${query}`, body)).status, 201);
}

/** Prunes a block, and returns the answer without times. */
async function prune(host: TestHost, block: number): Promise<unknown> {
  const answer = await host.send(
    "POST",
    `/v1/blocks?states=run&block=${block}`,
    block === 0 ? pruning : second,
  );
  assert.equal(answer.status, 200);
  const { layers, ...others } = decodeBlock(await answer.bytes());
  return { ...others, layers: layers.map(({ weight, report: { loss } }) => ({ weight, loss })) };
}

async function nextBlock(host: TestHost, name = "run"): Promise<number | undefined> {
  const answer = await host.request(`/v1/states/${name}`);
  if (answer.status === 404) return void await assertProblem(answer, "states_not_found");
  return (await answer.json()).next_block;
}

async function filesIn(folder: string): Promise<string[]> {
  return (await denoFileSystem.list(folder) ?? []).filter((name) => name !== "lock");
}

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
        await create(host, "run", body, query);
        await evictAll(host);
        assert.equal((await filesIn(folder)).length, 1);
        assert.equal(host.liveBytes(), live);
        assert.equal(await nextBlock(host), 0);
        assert.deepEqual(await prune(host, 0), expected[0]);
        assert.deepEqual(await filesIn(folder), []);
        const restarted = await start();
        assert.equal(await nextBlock(restarted), 1);
        assert.deepEqual(await prune(restarted, 1), expected[1]);
        assert.deepEqual(restarted.log, []);
      }));
  }

  it("forgets states that are deleted or replaced", () =>
    withHosts(async (folder, start) => {
      const host = await start();
      await create(host);
      await evictAll(host);
      assert.equal((await host.request(STATES, { method: "DELETE" })).status, 204);
      assert.equal((await host.request(STATES, { method: "DELETE" })).status, 404);
      await create(host);
      await prune(host, 0);
      await evictAll(host);
      await create(host);
      assert.deepEqual(await filesIn(folder), []);
      assert.equal(await nextBlock(await start()), 0);
    }));

  it("removes a file that is damaged, cut off, or of another name, and the states are not found", () =>
    withHosts(async (folder, start) => {
      let host = await start();
      await create(host, "b");
      await evictAll(host);
      const [other] = await filesIn(folder);
      await create(host);
      await evictAll(host);
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
        await assertProblem(await host.send("POST", BLOCKS, pruning), "states_not_found");
        assert.equal(host.log.length, 1, `damage ${index}`);
        assert.deepEqual(await filesIn(folder), [other], `damage ${index}`);
      }
    }));

  it("describes no states whose description is damaged", () =>
    withHosts(async (folder, start) => {
      const host = await start();
      await create(host);
      await evictAll(host);
      const [file] = await filesIn(folder), whole = await Deno.readFile(`${folder}/${file}`);
      const text = new TextDecoder("latin1").decode(whole);
      const digit = text.indexOf(":", text.indexOf("next_block")) + 1;
      await Deno.writeFile(`${folder}/${file}`, whole.with(digit, whole[digit] ^ 1));
      assert.equal(await nextBlock(host), undefined);
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
      await create(host);
      await evictAll(host);
      await prune(host, 0);
      assert.equal(found.length, 1);
      assert.notEqual(await found[0], undefined);
    }));

  it("leaves no file if it cannot flush the folder, because the file would become stale", () =>
    withHosts(async (folder, start) => {
      let isBroken = true;
      const syncFolder = async (path: string) => {
        if (isBroken) throw new Error("too many files are open");
        await denoFileSystem.syncFolder(path);
      };
      const host = await start({ ...denoFileSystem, syncFolder });
      await create(host);
      await evictAll(host);
      assert.deepEqual(await filesIn(folder), []);
      isBroken = false;
      await create(host);
      await evictAll(host);
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
      await create(host);
      await evictAll(host);
      isBroken = true;
      await assertProblem(await host.request(STATES), "internal");
      await assertProblem(await host.send("PUT", STATES, creation), "internal");
      isBroken = false;
      assert.equal(await nextBlock(host), 0);
    }));

  it("replaces and evicts states whose file another program has removed", () =>
    withHosts(async (folder, start) => {
      const host = await start();
      await create(host);
      await evictAll(host);
      for (const file of await filesIn(folder)) await Deno.remove(`${folder}/${file}`);
      await create(host);
      await evictAll(host);
      assert.equal(await nextBlock(host), 0);
    }));

  it("loses states that a full disk cannot take, and leaves no file", () =>
    withHosts(async (folder, start) => {
      const host = await start(fullAfter(denoFileSystem, 1000));
      await create(host);
      await evictAll(host);
      assert.equal(await nextBlock(host), undefined);
      assert.deepEqual(await filesIn(folder), []);
      assert.deepEqual(host.log.map(({ event, name }) => [event, name]), [["states not stored", "run"]]);
    }));

  it("has whole states or none if the host is killed while they are written", () =>
    withHosts(async (folder, start) => {
      const found = new Set<number | undefined>();
      for (let operations = 1; operations < 12; operations++) {
        const host = await start(killedAfter(denoFileSystem, operations));
        await create(host);
        await evictAll(host);
        const restarted = await start();
        found.add(await nextBlock(restarted));
        assert.ok((await filesIn(folder)).every((name) => name.endsWith(".safetensors")));
        await restarted.request(STATES, { method: "DELETE" });
      }
      assert.deepEqual(found, new Set([undefined, 0]));
    }));

  it("removes the states that were written first if its budget is exceeded", () =>
    withHosts(async (folder, start) => {
      let host = await start();
      await create(host, "a");
      await evictAll(host);
      const [file] = await filesIn(folder), { size } = await Deno.stat(`${folder}/${file}`);
      host = await start(denoFileSystem, 2.5 * size);
      for (const name of ["b", "c"]) {
        await create(host, name);
        await evictAll(host);
      }
      const found = [await nextBlock(host, "a"), await nextBlock(host, "b"), await nextBlock(host, "c")];
      assert.deepEqual(found, [undefined, 0, 0]);
      host = await start(denoFileSystem, 2 * size - 1);
      assert.deepEqual([await nextBlock(host, "b"), await nextBlock(host, "c")], [undefined, 0]);
      await create(host, "d");
      await evictAll(host);
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
