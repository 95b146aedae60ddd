/** Tests the life cycle of a host's device that requests do not show: reopening after a loss, and closing. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type Backend, DeviceLostError } from "../../src/device/backend.ts";
import { Device } from "../../src/host/device.ts";
import { memoryBackend } from "./memory_backend.ts";

const OPTIONS = { maxResidentLayers: 2, queueDepth: 2, queueMilliseconds: 60_000, clock: () => 0 };
const waitForReopening = () => new Promise((resolve) => setTimeout(resolve, 5));

function opening(...outcomes: (Backend | Error)[]) {
  return () => {
    const next = outcomes.shift() ?? new Error("nothing more to open");
    return next instanceof Error ? Promise.reject(next) : Promise.resolve(next);
  };
}

describe("Device", () => {
  it("opens a new session after the device was lost", async () => {
    const first = memoryBackend(), second = memoryBackend();
    const device = new Device(opening(first, second), OPTIONS);
    await device.start();
    const session = device.session();
    const lost = new DeviceLostError("driver reset");
    assert.equal(device.handleFailure(lost, session), lost);
    assert.throws(() => device.session(), DeviceLostError);
    await waitForReopening();
    assert.equal(device.session().backend, second);
    // A late failure of the old device does not affect the new one.
    device.handleFailure(lost, session);
    assert.equal(device.session().backend, second);
    await device.close();
  });

  it("stays lost while it cannot be reopened", async () => {
    const device = new Device(opening(memoryBackend(), new Error("still gone")), OPTIONS);
    await device.start();
    device.handleFailure(new DeviceLostError("unplugged"), device.session());
    await waitForReopening();
    assert.throws(() => device.session(), { name: "DeviceLostError", message: "unplugged" });
    await device.close();
  });

  it("disposes of its backend once when it is closed", async () => {
    const backend = memoryBackend();
    let disposed = 0;
    backend.dispose = () => Promise.resolve(void disposed++);
    const device = new Device(opening(backend), OPTIONS);
    await device.start();
    await device.close();
    await device.close();
    assert.equal(disposed, 1);
    assert.throws(() => device.session(), { code: "shutting_down" });
  });
});
