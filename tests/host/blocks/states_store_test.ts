/** Tests the budget of stored hidden states: what counts, what is freed, and in which order. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { States } from "../../../src/host/blocks/states.ts";
import { StatesStore } from "../../../src/host/blocks/states_store.ts";
import type { Forward } from "../../../src/model/forward.ts";

const BUDGET = 100, { signal } = new AbortController();
const nameOf = (name: string, owner = "key") => ({ owner, name });

/** Returns a store, and functions that store states and list the names of the states that were freed. */
function openStore() {
  const store = new StatesStore({ budgetBytes: BUDGET, clock: () => 0 }), freed: string[] = [];
  const add = async (name: string, byteLength: number, answerBytes = 0, owner = "key") => {
    const forward = { destroy: () => void freed.push(name) } as unknown as Forward;
    const parts = [new Uint8Array(answerBytes)];
    const states: States = {
      ...{ forward, byteLength, nextBlock: 1, weights: new Map(), windows: [], validationWindows: [] },
      model: { config: "{}", names: [] },
      ...answerBytes > 0 && { answer: { block: 0, request: "sha256:0", parts } },
    };
    await store.add(nameOf(name, owner), states);
    return states;
  };
  return { store, add, freed };
}

/** Begins a use of states that lasts until the returned function is called. */
async function begin(store: StatesStore, name: string): Promise<() => Promise<void>> {
  const { promise, resolve } = Promise.withResolvers<void>(), begun = Promise.withResolvers<void>();
  const use = store.use(nameOf(name), () => (begun.resolve(), promise), signal);
  await begun.promise;
  return async () => {
    resolve();
    await use;
  };
}

describe("StatesStore", () => {
  it("drops the answers of idle states, least recently used first, before it frees states", async () => {
    const { store, add, freed } = openStore(), old = await add("old", 20, 20);
    const recent = await add("recent", 20, 20);
    const room = await store.reserve("the body", 30, { replaced: nameOf("new") });
    assert.deepEqual([old.answer, recent.answer !== undefined, freed], [undefined, true, []]);
    room[Symbol.dispose]();
    await store.reserve("the body", 70, { replaced: nameOf("new") });
    assert.deepEqual([recent.answer, freed], [undefined, ["old"]]);
  });

  it("keeps states whose answer exceeds the budget when their request ends", async () => {
    const { store, add, freed } = openStore(), states = await add("run", 80);
    await store.use(nameOf("run"), async (used) => {
      await Promise.resolve();
      used.answer = { block: 1, request: "sha256:1", parts: [new Uint8Array(30)] };
    }, signal);
    assert.deepEqual([states.answer, freed, store.byteLength], [undefined, [], 80]);
  });

  it("counts reserved bytes until they are disposed of", async () => {
    const { store } = openStore(), reserve = () => store.reserve("the body", 60, { replaced: nameOf("a") });
    const room = await reserve();
    await assert.rejects(reserve(), { code: "busy" });
    assert.equal(store.byteLength, 60);
    room[Symbol.dispose]();
    assert.equal(store.byteLength, 0);
    await reserve();
  });

  it("keeps the states of a request that reserves memory before it uses them", async () => {
    const { store, add, freed } = openStore(), used = await add("run", 50);
    await add("other", 50);
    await store.reserve("the result", 40, { used });
    assert.deepEqual(freed, ["other"]);
    await assert.rejects(store.reserve("the result", 20, { used }), { code: "busy" });
  });

  it("counts deleted states until the last request that uses them ends", async () => {
    const { store, add, freed } = openStore();
    await add("run", 80);
    const end = await begin(store, "run");
    assert.equal(await store.delete(nameOf("run")), true);
    await assert.rejects(store.reserve("the body", 30, { replaced: nameOf("run") }), { code: "busy" });
    assert.deepEqual([store.byteLength, freed], [80, []]);
    await end();
    assert.deepEqual([store.byteLength, freed], [0, ["run"]]);
  });

  it("refuses bytes that can never fit beside the states that the request uses", async () => {
    const { store, add } = openStore(), used = await add("run", 80), end = await begin(store, "run");
    const error = { code: "too_large", members: { limit: 20 } };
    await assert.rejects(store.reserve("the block", 21, { used }), error);
    await store.reserve("the block", 20, { used });
    await end();
  });

  it("frees states that are replaced before others, and nothing if there is no room", async () => {
    const { store, add, freed } = openStore();
    for (const name of ["other", "used", "own"]) await add(name, 30);
    const end = await begin(store, "used");
    await assert.rejects(store.reserve("the body", 71, { replaced: nameOf("own") }), { code: "busy" });
    assert.deepEqual(freed, []);
    await store.reserve("the body", 40, { replaced: nameOf("own") });
    assert.deepEqual(freed, ["own"]);
    await end();
  });

  it("frees states that a repeated request has created at the same time", async () => {
    const { store, add, freed } = openStore();
    await Promise.all([add("run", 30), add("run", 30)]);
    assert.deepEqual([freed, store.byteLength], [["run"], 30]);
  });

  it("stores at most 64 names of one key", async () => {
    const { store, add, freed } = openStore();
    await add("other", 1, 0, "other key");
    for (let i = 0; i <= 64; i++) await add(`run ${i}`, 1);
    assert.deepEqual([freed, store.byteLength], [["run 0"], 65]);
  });
});
