/** Tests the choice of a backend: that it is checked, and what happens if it computes wrong results. */

import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import type { Backend } from "../../src/device/backend.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { type BackendOpeners, selectBackend } from "../../src/host/backends.ts";
import { Device } from "../../src/host/device.ts";
import { DeviceLostError } from "../../src/device/backend.ts";
import type { LogEntry } from "../../src/host/log_entry.ts";
import { withDispatch } from "../../scripts/self_check/faults/with_dispatch.ts";

const KERNEL = "reverse_cholesky";

/** Opens a cpu backend that claims to be a GPU and does not run one kernel. */
async function openFaulty(disposed: string[]): Promise<Backend> {
  const backend = await createCpuBackend({ threads: 1 });
  const faulty = withDispatch(backend, (kernel, buffers, params) => {
    if (kernel.name !== KERNEL) backend.dispatch(kernel, buffers, params);
  });
  return new Proxy(faulty, {
    get(target, name) {
      if (name === "kind") return "webgpu";
      if (name === "adapter") return { name: "Faulty GPU, driver 1.2.3", software: false };
      if (name === "dispose") return () => (disposed.push("Faulty GPU"), backend.dispose());
      return Reflect.get(target, name, target);
    },
  });
}

function openers(disposed: string[] = []): BackendOpeners {
  return {
    hasHardwareAdapter: () => Promise.resolve(true),
    webgpu: () => openFaulty(disposed),
    cpu: () => createCpuBackend({ threads: 1 }),
  };
}

const REFUSAL =
  /^the device Faulty GPU, driver 1\.2\.3 \(backend webgpu\) computes wrong results: kernel reverse_cholesky, /;

describe("selectBackend()", () => {
  it("checks the backend, and records how long the check took", async () => {
    const backend = await selectBackend("cpu", { openers: openers() });
    ok(backend.selfCheck!.seconds > 0);
    strictEqual(backend.counters.bytesLive, 0);
    await backend.dispose();
  });

  it("refuses a device with wrong results by the names of adapter, driver and kernel, and closes it", async () => {
    const disposed: string[] = [];
    await rejects(selectBackend("webgpu", { openers: openers(disposed) }), {
      name: "SelfCheckError",
      message: REFUSAL,
      kernels: [KERNEL],
    });
    deepStrictEqual(disposed, ["Faulty GPU"]);
  });

  it("takes the CPU in place of a GPU with wrong results if the choice is auto, and logs the reason", async () => {
    const disposed: string[] = [], entries: LogEntry[] = [];
    const backend = await selectBackend("auto", {
      openers: openers(disposed),
      log: (entry) => entries.push(entry),
    });
    strictEqual(backend.kind, "cpu");
    ok(backend.selfCheck);
    const [{ reason, ...rest }] = entries;
    deepStrictEqual(rest, { event: "device refused", instead: "cpu" });
    ok(REFUSAL.test(String(reason)), String(reason));
    deepStrictEqual([entries.length, disposed], [1, ["Faulty GPU"]]);
    await backend.dispose();
  });

  it("refuses a CPU with wrong results, for auto as well", async () => {
    const faulty = {
      ...openers(),
      cpu: () => openFaulty([]),
      hasHardwareAdapter: () => Promise.resolve(false),
    };
    for (const choice of ["cpu", "auto"] as const) {
      await rejects(selectBackend(choice, { openers: faulty }), { name: "SelfCheckError" });
    }
  });
});

describe("selectBackend() with a BLAS library", () => {
  /** Opens the CPU, which computes wrong results with every library. */
  const withFaultyLibrary = (opened: string[], disposed: string[]): BackendOpeners => ({
    ...openers(),
    hasHardwareAdapter: () => Promise.resolve(false),
    cpu: (blas) => {
      opened.push(blas);
      return blas === "off" ? createCpuBackend({ threads: 1 }) : openFaulty(disposed);
    },
  });

  for (const choice of ["cpu", "auto"] as const) {
    it(`takes the CPU without a library if the library was found by auto, for the backend ${choice}`, async () => {
      const opened: string[] = [], disposed: string[] = [], entries: LogEntry[] = [];
      const backend = await selectBackend(choice, {
        blas: "auto",
        openers: withFaultyLibrary(opened, disposed),
        log: (entry) => entries.push(entry),
      });
      ok(backend.selfCheck);
      await backend.dispose();
      deepStrictEqual([opened, disposed], [["auto", "off"], ["Faulty GPU"]]);
      const [{ reason, ...rest }] = entries;
      deepStrictEqual([rest, entries.length], [
        { event: "device refused", instead: "cpu without a BLAS library" },
        1,
      ]);
      ok(REFUSAL.test(String(reason)), String(reason));
    });
  }

  it("refuses a library that was given by its path, and names it", async () => {
    const opened: string[] = [], disposed: string[] = [], path = "/opt/lib/libblas.so";
    await rejects(selectBackend("cpu", { blas: path, openers: withFaultyLibrary(opened, disposed) }), {
      name: "SelfCheckError",
      message:
        /^BLAS library \/opt\/lib\/libblas\.so: the device .* computes wrong results: kernel reverse_cholesky, /,
      kernels: [KERNEL],
    });
    deepStrictEqual([opened, disposed], [[path], ["Faulty GPU"]]);
  });
});

describe("Device with a checked backend", () => {
  it("checks a device again after it was lost, and reports why it is refused", async () => {
    const choices: (() => Promise<Backend>)[] = [
      () => selectBackend("cpu", { openers: openers() }),
      () => selectBackend("webgpu", { openers: openers() }),
    ];
    const device = new Device(() => choices.shift()!(), {
      maxResidentLayers: 1,
      queueDepth: 1,
      queueMilliseconds: 1000,
      clock: () => 0,
    });
    await device.start();
    device.handleFailure(new DeviceLostError("driver reset"), device.session());
    const deadline = Date.now() + 20_000;
    while (device.unavailableReason()?.name !== "NoDeviceError" && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    ok(REFUSAL.test(device.unavailableReason()!.message), device.unavailableReason()!.message);
    await device.close();
  });
});
