/** Tests what `/readyz` says about the self-check of the device. */

import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { createApp } from "../../routes/app.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { selectBackend } from "../../src/host/backends.ts";
import { startHostServices } from "../../src/host/host_services.ts";
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
