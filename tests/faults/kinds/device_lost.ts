/** A device that is lost in the middle of a solve. */

import { type Backend, DeviceLostError } from "../../../src/device/backend.ts";
import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import { withOverrides } from "../../../scripts/self_check/faults/with_dispatch.ts";
import { startFailingHost } from "../failing_host.ts";
import { type FaultKind, require } from "../fault_kind.ts";
import { layerBody } from "../fault_layer.ts";

/** A device that is lost at one of its commands, spread evenly over all commands of a request. */
export const deviceLost: FaultKind = {
  name: "device_lost",
  fault: "device lost in the middle of a request",
  survival: "503 `device_lost` with Retry-After. The next request gets the same bytes.",
  processes: false,
  tries: { full: 100, test: 8 },
  async run(tries, tally) {
    const body = layerBody(48, 256);
    let countdown = Infinity;
    const open = async () => losing(await createCpuBackend({ threads: 1 }), () => --countdown < 0);
    await using host = await startFailingHost(open);
    const expected = await host.solve(body);
    require(expected !== undefined, "the undisturbed request failed");
    countdown = 1e9;
    await host.solve(body);
    const commands = 1e9 - countdown;
    for (let i = 0; i < tries; i++) {
      const at = Math.floor(commands * i / tries);
      await tally.attempt(`command ${at} of ${commands}`, async () => {
        countdown = at;
        const answer = await host.solve(body);
        countdown = Infinity;
        require(answer === undefined, "the host answered with 200");
        await host.requireRecovery(body, expected);
      });
    }
  },
};

/** Wraps a backend that is lost for good as soon as `isLost` returns true. It is asked at each dispatch, write, read and finish. */
function losing(backend: Backend, isLost: () => boolean): Backend {
  let lost = false;
  const note = () => lost ||= isLost();
  // A lost device reports the loss from its next read or finish.
  const check = () => {
    if (note()) throw new DeviceLostError("the device was removed");
  };
  return withOverrides(backend, {
    write: (...args) => (note(), backend.write(...args)),
    copy: (...args) => (note(), backend.copy(...args)),
    clear: (target) => (note(), backend.clear(target)),
    dispatch: (...args) => (note(), backend.dispatch(...args)),
    async read(...args) {
      check();
      return await backend.read(...args);
    },
    async finish() {
      check();
      await backend.finish();
    },
  });
}
