/** Tests what a command says about its device. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { openBackend } from "../../src/cli/open_backend.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import type { Backend } from "../../src/device/backend.ts";

/** Opens a cpu backend that claims to be a GPU with this adapter. */
async function openAs(adapter: Backend["adapter"]): Promise<Backend> {
  const backend = await createCpuBackend({ threads: 1 });
  return new Proxy(backend, {
    get(target, name) {
      if (name === "kind") return "webgpu";
      if (name === "adapter") return adapter;
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

describe("openBackend()", () => {
  for (const software of [false, true]) {
    it(`names the adapter of --backend webgpu${software ? ", and warns if the processor emulates it" : ""}`, async () => {
      const lines: string[] = [], { error } = console, adapter = { name: "Adapter 1", software };
      const openers = {
        hasHardwareAdapter: () => Promise.resolve(!software),
        findAdapter: () => Promise.resolve(adapter),
        webgpu: () => openAs(adapter),
        cpu: () => createCpuBackend({ threads: 1 }),
        findProducts: () => [undefined],
      };
      console.error = (line: string) => lines.push(line);
      try {
        await using cleanup = new AsyncDisposableStack();
        await openBackend({ backend: "webgpu", openers }, cleanup);
      } finally {
        console.error = error;
      }
      assert.equal(lines[0], "device: Adapter 1");
      assert.equal(lines.length, software ? 2 : 1);
      if (software) assert.match(lines[1], /^warning: .*emulates a GPU .*--backend cpu$/);
    });
  }
});
