/** Tests the choice of a backend: that it is checked, and what happens if it computes wrong results. */

import { deepStrictEqual, match, ok, rejects, strictEqual, throws } from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { type Backend, DeviceLostError } from "../../src/device/backend.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { describeAdapter, NoAdapterError } from "../../src/device/webgpu/device.ts";
import {
  type BackendChoice,
  type BackendOpeners,
  parseRequireGpu,
  selectBackend,
} from "../../src/host/backends.ts";
import { LIBRARY_HINT } from "../../src/device/cpu/products/find_products.ts";
import type { ProductLibrary } from "../../src/device/cpu/products/product_library.ts";
import { Device } from "../../src/host/device.ts";
import type { LogEntry } from "../../src/host/metrics.ts";
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
    findAdapter: () => Promise.resolve({ name: "Faulty GPU, driver 1.2.3", software: false }),
    webgpu: () => openFaulty(disposed),
    cpu: () => createCpuBackend({ threads: 1 }),
    findProducts: () => [undefined],
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

describe("selectBackend() with requireGpu", () => {
  const choose = (choice: BackendChoice, changes: Partial<BackendOpeners> = {}) =>
    selectBackend(choice, { requireGpu: true, openers: { ...openers(), ...changes } });

  it("refuses an adapter that the CPU emulates by its name, and does not open it", async () => {
    for (const name of ["llvmpipe (LLVM 19.1.7, 256 bits)", "SwiftShader Device (Subzero)"]) {
      const adapter = describeAdapter({ info: { description: name } as GPUAdapterInfo });
      const changes = {
        findAdapter: () => Promise.resolve(adapter),
        webgpu: () => Promise.reject(new Error("opened")),
      };
      for (const choice of ["auto", "webgpu"] as const) {
        await rejects(choose(choice, changes), {
          message: `a GPU is required, but the adapter ${name} is emulated on the CPU`,
        });
      }
    }
  });

  it("refuses the backend cpu, and does not take it in place of a GPU that is missing or computes wrong results", async () => {
    const cpu = () => Promise.reject(new Error("the CPU was opened"));
    await rejects(choose("cpu", { cpu }), { message: "a GPU is required, but the backend cpu was chosen" });
    await rejects(choose("auto", { cpu }), { name: "SelfCheckError" });
    const findAdapter = () => Promise.reject(new NoAdapterError("no WebGPU adapter"));
    await rejects(choose("auto", { cpu, findAdapter }), { message: "no WebGPU adapter" });
  });

  it("is set by PARE_REQUIRE_GPU, which is 0 or 1", () => {
    deepStrictEqual([undefined, "0", "1"].map(parseRequireGpu), [false, false, true]);
    throws(() => parseRequireGpu("yes"), new RangeError("PARE_REQUIRE_GPU yes: must be 0 or 1"));
  });
});

describe("selectBackend() with libraries for products", () => {
  const library = (name: string, milliseconds = 0): ProductLibrary => ({
    name,
    path: `/opt/lib/${name}.so`,
    precision: "float32",
    gemm: () => ({
      sgemm() {
        for (const end = performance.now() + milliseconds; performance.now() < end;);
      },
    }),
  });
  const first = library("First 1.0"), second = library("Second 1.0");

  /** Finds `found`. Opens the CPU, which computes wrong results with the libraries that are in `faulty`. */
  const withLibraries = (
    found: (ProductLibrary | undefined)[],
    { faulty = [], opened = [], disposed = [] }: {
      faulty?: (ProductLibrary | undefined)[];
      opened?: string[];
      disposed?: string[];
    } = {},
  ): BackendOpeners => ({
    ...openers(),
    hasHardwareAdapter: () => Promise.resolve(false),
    findProducts: () => found,
    cpu: (library) => {
      opened.push(library?.name ?? "own");
      return library && faulty.includes(library) ? openFaulty(disposed) : createCpuBackend({ threads: 1 });
    },
  });

  /** Opens the CPU with the products `auto`. Returns what was logged. */
  async function logOf(openers: BackendOpeners, choice: BackendChoice = "cpu"): Promise<LogEntry[]> {
    const entries: LogEntry[] = [];
    const log = (entry: LogEntry) => entries.push(entry);
    const backend = await selectBackend(choice, { products: "auto", openers, log });
    ok(backend.selfCheck);
    await backend.dispose();
    return entries;
  }

  it("takes the first library however slow the machine is at this moment, because another one has other bits", async () => {
    const slow = library("Slow 1.0", 5);
    deepStrictEqual(await logOf(withLibraries([slow, first, undefined])), [
      {
        event: "products",
        products: "Slow 1.0",
        reason: "installed libraries come before Pare's own kernels",
      },
    ]);
  });

  for (const choice of ["cpu", "auto"] as const) {
    it(`takes the next products in place of a library with wrong results, for the backend ${choice}`, async () => {
      const opened: string[] = [], disposed: string[] = [], faulty = [first, second];
      const entries = await logOf(
        withLibraries([first, second, undefined], { faulty, opened, disposed }),
        choice,
      );
      deepStrictEqual([opened, disposed], [["First 1.0", "Second 1.0", "own"], ["Faulty GPU", "Faulty GPU"]]);
      deepStrictEqual(entries.map(({ event, instead, products }) => instead ?? products ?? event), [
        "cpu with Second 1.0",
        "cpu with own kernels in float32",
        "own kernels in float32",
      ]);
      ok(REFUSAL.test(String(entries[0].reason)), String(entries[0].reason));
      strictEqual(entries[2].reason, "no library that was found passes the self-check");
    });
  }

  it("refuses a library that was given by its path, and names it", async () => {
    const opened: string[] = [], disposed: string[] = [];
    const options = {
      products: first.path,
      openers: withLibraries([first], { faulty: [first], opened, disposed }),
    };
    await rejects(selectBackend("cpu", options), (error: Error) => {
      ok(error.message.startsWith(`library ${options.products}: the device `), error.message);
      return error.name === "SelfCheckError";
    });
    deepStrictEqual([opened, disposed], [["First 1.0"], ["Faulty GPU"]]);
  });

  it("uses Pare's own kernels on a machine without libraries, and says how to install one", async () => {
    const reason = ["no library is installed", LIBRARY_HINT].filter(Boolean).join(". ");
    deepStrictEqual(await logOf(withLibraries([undefined])), [
      { event: "products", products: "own kernels in float32", reason },
    ]);
  });

  it("says that a run began with the products only if it did", async () => {
    for (
      const [recorded, expected] of [["cpu (WebAssembly SIMD)", /began/], [
        "webgpu (GPU)",
        /no library is/,
      ]] as const
    ) {
      const reasons: unknown[] = [], log = ({ reason }: LogEntry) => reasons.push(reason);
      const options = { products: "auto", recorded, openers: withLibraries([undefined]), log };
      await (await selectBackend("cpu", options)).dispose();
      match(reasons.join(), expected);
    }
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
    while (!REFUSAL.test(device.unavailableReason()!.message) && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    ok(REFUSAL.test(device.unavailableReason()!.message), device.unavailableReason()!.message);
    await device.close();
  });
});
