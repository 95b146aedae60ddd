/** Tests the life cycle of a host's device: opening, failing to open, loss, reopening, refusing new requests, and closing. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type Backend, DeviceLostError, OutOfDeviceMemoryError } from "../../src/device/backend.ts";
import { Device, NoDeviceError } from "../../src/host/device.ts";
import { BusyError } from "../../src/host/bounded_queue.ts";
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
  it("has no session before it is opened", () => {
    const device = new Device(opening(), OPTIONS);
    assert.equal(device.current(), undefined);
    assert.throws(() => device.session(), NoDeviceError);
  });

  it("reports why it could not be opened", async () => {
    const device = new Device(opening(new Error("no adapter")), OPTIONS);
    await device.start();
    assert.throws(() => device.session(), { name: "NoDeviceError", message: "no adapter" });
    assert.match(device.unavailableReason()!.message, /no adapter/);
    await device.close();
  });

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

  it("reports that it is busy if its memory runs out while it also holds other layers", async () => {
    const device = new Device(opening(memoryBackend()), OPTIONS);
    await device.start();
    const session = device.session(), full = new OutOfDeviceMemoryError("no room");
    const release1 = await session.residentQueue.acquire();
    assert.equal(device.handleFailure(full, session), full);
    const release2 = await session.residentQueue.acquire();
    const busy = device.handleFailure(full, session);
    assert.ok(busy instanceof BusyError);
    assert.equal(busy.message, "the device has no memory for this layer beside another layer");
    release1();
    release2();
    await device.close();
  });

  it("gives no session to new requests after stopAccepting(), but keeps existing sessions usable", async () => {
    const backend = memoryBackend();
    const device = new Device(opening(backend), OPTIONS);
    await device.start();
    const session = device.session();
    device.stopAccepting();
    assert.throws(() => device.session(), {
      name: "ShuttingDownError",
      message: "the host is shutting down",
    });
    assert.equal(session.backend, backend);
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
    assert.throws(() => device.session(), { name: "ShuttingDownError" });
  });
});
