/** Tests what `/readyz` says about the self-check of the device, and what `/ping` says while the device is opened. */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { createApp } from "../../routes/app.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { selectBackend } from "../../src/host/backends.ts";
import { createHostServices, startHostServices } from "../../src/host/host_services.ts";
import { memoryBackend } from "../host/memory_backend.ts";
import { SelfCheckError } from "../../src/host/self_check/self_check.ts";

describe("GET /readyz", () => {
  it("reports the self-check of a device that was checked, and null for a device that was not", async () => {
    for (
      const [open, isChecked] of [[() => selectBackend("cpu"), true], [
        () => createCpuBackend(),
        false,
      ]] as const
    ) {
      const services = await startHostServices(open);
      const { self_check } = await (await createApp(services).request("/readyz")).json();
      if (isChecked) ok(self_check.passed === true && self_check.seconds > 0, JSON.stringify(self_check));
      else strictEqual(self_check, null);
      await services.device.close();
    }
  });

  it("answers 503 with the reason if the device was refused", async () => {
    const services = await startHostServices(() =>
      Promise.reject(new SelfCheckError("the device X computes wrong results: kernel copy2d", ["copy2d"]))
    );
    const answer = await createApp(services).request("/readyz"), { code, detail } = await answer.json();
    deepStrictEqual([answer.status, code], [503, "no_device"]);
    ok(detail.includes("kernel copy2d"), detail);
  });
});

describe("Retry-After", () => {
  it("is short while the device is opened, and long if it cannot be opened", async () => {
    const services = createHostServices(() => Promise.reject(new Error("no adapter")));
    const retryAfter = async () => {
      const answer = await createApp(services).request("/readyz");
      await answer.body?.cancel();
      return Number(answer.headers.get("Retry-After"));
    };
    deepStrictEqual(await retryAfter(), 2);
    await services.device.start();
    deepStrictEqual(await retryAfter(), 30);
  });
});

describe("GET /ping", () => {
  it("answers 204 while the device is opened, and 200 while it can be used", async () => {
    const opening = Promise.withResolvers<ReturnType<typeof memoryBackend>>();
    const services = createHostServices(() => opening.promise), app = createApp(services);
    const started = services.device.start();
    const statusesOf = (...paths: string[]) =>
      Promise.all(paths.map(async (path) => (await app.request(path)).status));
    deepStrictEqual(await statusesOf("/ping", "/healthz", "/readyz"), [204, 200, 503]);
    opening.resolve(memoryBackend());
    await started;
    deepStrictEqual(await statusesOf("/ping", "/healthz", "/readyz"), [200, 200, 200]);
    await services.device.close();
  });

  it("answers 503 if the device cannot be opened, so that no request is sent to this host", async () => {
    const services = await startHostServices(() => Promise.reject(new Error("no adapter")));
    const answer = await createApp(services).request("/ping"), { code, detail } = await answer.json();
    deepStrictEqual([answer.status, code, detail], [503, "no_device", "no adapter"]);
  });
});
