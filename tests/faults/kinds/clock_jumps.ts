/** Jumps of the clock of an edge and of a host. */

import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import { attemptLayer, MAX_ATTEMPTS } from "../../../src/edge/jobs/attempt.ts";
import { Device } from "../../../src/host/device.ts";
import { startHostServices } from "../../../src/host/host_services.ts";
import { createApp } from "../../../routes/app.ts";
import { DONE, RESULT, RUNNING, simulateJob } from "../../edge/simulate_job.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";
import { type FaultKind, require } from "../fault_kind.ts";
import { layerBody, layerRequest, requireSameAnswer } from "../fault_layer.ts";

const HOUR = 3_600_000;

/**
 * A clock that jumps by up to a day forwards or backwards. Half of the tries are a job of an edge, whose clock
 * jumps while a host solves the layer. The other half are layers at a host whose clock jumps at every reading.
 */
export const clockJumps: FaultKind = {
  name: "clock_jumps",
  fault: "jumps of the clock by up to a day, at an edge and at a host",
  survival: "The layer is done, at an edge after at most five attempts, with the same bytes.",
  processes: false,
  tries: { full: 200, test: 20 },
  async run(tries, tally, seed) {
    const random = uniform(seed), jump = () => (random() - 0.5) * 48 * HOUR;
    for (let i = 0; i < tries >> 1; i++) {
      await tally.attempt(`job ${i}`, async () => {
        tally.hit("edge");
        await jobSurvives(jump);
      });
    }
    const body = layerBody(24, 64);
    const services = await startHostServices(() => createCpuBackend({ threads: 1 }));
    const expected = await (await createApp(services).request("/v1/layers", layerRequest(body))).bytes();
    await services.device.close();
    const clock = () => performance.now() + jump();
    const device = new Device(() => createCpuBackend({ threads: 1 }), {
      maxResidentLayers: 2,
      queueDepth: 16,
      queueMilliseconds: 2 * 24 * HOUR,
      clock,
    });
    await device.start();
    const app = createApp({ ...services, device, clock });
    for (let i = 0; i < tries >> 1; i++) {
      await tally.attempt(`layer ${i}`, async () => {
        tally.hit("host");
        // Some layers wait for others, so that the queue also reads the clock.
        const answers = Array.from({ length: 4 }, () => app.request("/v1/layers", layerRequest(body)));
        for (const answer of answers) {
          const response = await answer;
          require(response.status === 200, `${response.status}`);
          requireSameAnswer(await response.bytes(), expected);
        }
      });
    }
    await device.close();
  },
};

/** Runs the layer of a job whose clock jumps whenever the host answers that it is still working. */
async function jobSurvives(jump: () => number): Promise<void> {
  const answers = Array.from({ length: 3 * MAX_ATTEMPTS }, () => [RUNNING, DONE]).flat();
  const { context, clock, layer, sendHeartbeat } = simulateJob(answers);
  clock.now = 100 * 24 * HOUR;
  const jumping = {
    ...context,
    sleep: (milliseconds: number) => {
      clock.now += jump();
      sendHeartbeat();
      return context.sleep(milliseconds);
    },
  };
  const { error } = console;
  console.error = () => {}; // failed attempts are logged
  try {
    for (let attempt = 1; layer().state !== "done" && attempt <= MAX_ATTEMPTS; attempt++) {
      await attemptLayer(0, jumping).catch(() => {});
    }
  } finally {
    console.error = error;
  }
  require(layer().state === "done" && layer().result === RESULT, JSON.stringify(layer()));
}
