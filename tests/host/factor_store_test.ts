/**
 * Tests FactorStore, the host's cache of calibration statistics and their factors: its budget, its order of eviction, and its loans. A loan is
 * the use of stored statistics by one request.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../src/device/backend.ts";
import { TiledMatrix } from "../../src/device/tiled_matrix.ts";
import type { Factor } from "../../src/layer/linalg/factor.ts";
import { FactorStore } from "../../src/host/factor_store.ts";
import { memoryBackend } from "./memory_backend.ts";

/** The bytes of a Hessian of order 8, and of each factor in this file. */
const ONE = 8 * 8 * 4;
const KEY = { damping: 0.01, blocksize: 128 };

function hessian(backend: Backend): TiledMatrix {
  return new TiledMatrix(backend, { label: "hessian", rows: 8, cols: 8, storage: "upper" });
}

function factor(backend: Backend): Factor {
  const r = hessian(backend);
  const buffer = r.tile(0, 0).buffer;
  return {
    r,
    u: buffer,
    diagonal: buffer,
    dead: undefined,
    blocksize: 128,
    damping: 0.1,
    dampingAdded: 1,
    largestDiagonal: 1,
    byteLength: r.byteLength,
    destroy: () => r.destroy(),
  };
}

/** Makes a store with room for `count` matrices that holds one Hessian per letter of `names`. */
function storeOf(count: number, names: string) {
  const backend = memoryBackend();
  const store = new FactorStore(count * ONE);
  for (const name of names) store.add(name, { hessian: hessian(backend), validation: undefined });
  const storeFactor = (name: string) => {
    const loan = store.borrow(name);
    loan.store(factor(backend), KEY);
    loan.return();
  };
  const listed = () => [..."abcdef"].filter((name) => store.order(name) !== undefined).join("");
  return { backend, store, storeFactor, listed, live: () => backend.counters.bytesLive / ONE };
}

describe("FactorStore", () => {
  it("evicts the least recently used statistics first", () => {
    const { backend, store, listed, live } = storeOf(2, "ab");
    store.borrow("a").return();
    store.add("c", { hessian: hessian(backend), validation: undefined });
    assert.equal(listed(), "ac");
    assert.equal(live(), 2);
  });

  it("evicts factors before statistics", () => {
    const { backend, store, storeFactor, listed, live } = storeOf(4, "ab");
    storeFactor("a");
    storeFactor("b");
    assert.equal(live(), 4);
    store.add("c", { hessian: hessian(backend), validation: undefined });
    assert.deepEqual([listed(), live()], ["abc", 4]);
    const loans = ["a", "b"].map((name) => store.borrow(name));
    assert.deepEqual(loans.map((loan) => loan.factor(KEY) !== undefined), [false, true]);
    loans.forEach((loan) => loan.return());
  });

  it("replaces a factor by a later one", () => {
    const { backend, store, storeFactor, live } = storeOf(4, "a");
    storeFactor("a");
    const loan = store.borrow("a");
    loan.store(factor(backend), { ...KEY, damping: 0.5 });
    assert.equal(loan.factor(KEY), undefined);
    assert.ok(loan.factor({ ...KEY, damping: 0.5 }));
    loan.return();
    assert.equal(live(), 2);
  });

  it("frees a new factor at once if another request is using the stored one", () => {
    const { backend, store, storeFactor, live } = storeOf(4, "a");
    storeFactor("a");
    const user = store.borrow("a"), maker = store.borrow("a");
    const used = user.factor(KEY);
    maker.store(factor(backend), { ...KEY, damping: 0.5 });
    assert.equal(user.factor(KEY), used);
    assert.equal(live(), 2);
    user.return();
    maker.return();
  });

  it("never frees statistics in use, and returns to its budget when their loans end", () => {
    const { backend, store, listed, live } = storeOf(2, "ab");
    const a = store.borrow("a"), b = store.borrow("b");
    store.add("c", { hessian: hessian(backend), validation: undefined });
    assert.deepEqual([listed(), live()], ["ab", 2]);
    b.return();
    b.return();
    store.add("c", { hessian: hessian(backend), validation: undefined });
    assert.deepEqual([listed(), live()], ["ac", 2]);
    a.return();
  });

  it("frees deleted statistics once their last loan ends", () => {
    const { backend, store, live } = storeOf(4, "a");
    const one = store.borrow("a"), two = store.borrow("a");
    store.delete("a");
    assert.throws(() => store.borrow("a"), { code: "hessian_not_found" });
    two.store(factor(backend), KEY);
    one.return();
    assert.equal(live(), 1);
    two.return();
    assert.equal(live(), 0);
  });

  it("refuses statistics larger than the budget and keeps the others", () => {
    const { backend, store, listed, live } = storeOf(1, "a");
    const large = new TiledMatrix(backend, { label: "hessian", rows: 9, cols: 9, storage: "upper" });
    assert.throws(
      () => store.add("b", { hessian: large, validation: undefined }),
      { code: "too_large", members: { limit: ONE } },
    );
    assert.deepEqual([listed(), live()], ["a", 1]);
  });

  it("frees a new factor if the factor and its statistics exceed the budget", () => {
    const { storeFactor, listed, live } = storeOf(1, "a");
    storeFactor("a");
    assert.deepEqual([listed(), live()], ["a", 1]);
  });

  it("frees everything when it is cleared", () => {
    const { store, storeFactor, live } = storeOf(4, "ab");
    storeFactor("a");
    store.clear();
    assert.deepEqual([store.size, live()], [0, 0]);
  });
});
