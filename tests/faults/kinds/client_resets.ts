/** Clients that reset their connections while another client waits for its answer. */

import { uniform } from "../../../scripts/fixtures/random.ts";
import { startHost } from "../../../scripts/processes/child_host.ts";
import { exchange } from "../../../scripts/soak/exchange.ts";
import { resetConnection, type ResetMoment } from "../../../scripts/soak/reset.ts";
import { type FaultKind, require } from "../fault_kind.ts";
import { layerBody, requireSameAnswer } from "../fault_layer.ts";

const MOMENTS: readonly ResetMoment[] = ["connecting", "sending", "reading"];

/** The connections that are reset in one try. The system queues more of them for a host that does not accept any for a while. */
const RESETS = 40;

/** Many resets before a connection is accepted, in the middle of a body, or in the middle of an answer. */
export const clientResets: FaultKind = {
  name: "client_resets",
  fault: "40 clients that reset their connections before `accept`, in mid-request or in mid-answer",
  survival: "Another client gets the same bytes, and `/healthz` is answered. The host is not restarted.",
  processes: true,
  tries: { full: 150, test: 6 },
  async run(tries, tally, seed) {
    const random = uniform(seed), body = layerBody(128, 256), path = "/v1/layers";
    await using host = await startHost(["--backend", "cpu"]);
    const expected = (await exchange(host.url, { path, body })).body;
    const request = { path, body, answerBytes: expected.byteLength };
    for (let i = 0; i < tries; i++) {
      const moment = MOMENTS[i % MOMENTS.length];
      await tally.attempt(moment, async () => {
        tally.hit(moment);
        const answer = exchange(host.url, { path, body });
        answer.catch(() => {}); // it is awaited last, and an earlier failure must not leave it unhandled
        // A host that stands still accepts no connection before all of them are reset.
        if (moment === "connecting") Deno.kill(host.pid, "SIGSTOP");
        const resets = Promise.all(
          Array.from({ length: RESETS }, () => resetConnection(host.url, moment, request, random())),
        );
        await resets.finally(() => Deno.kill(host.pid, "SIGCONT"));
        const { status } = await exchange(host.url, { method: "GET", path: "/healthz" });
        require(status === 200, `/healthz was answered with ${status}`);
        // The other clients may have filled the queue first. Then the client repeats its request.
        let { status: answered, body: bytes } = await answer;
        while (answered === 429) {
          ({ status: answered, body: bytes } = await exchange(host.url, { path, body }));
        }
        require(answered === 200, `the layer was answered with ${answered}`);
        requireSameAnswer(bytes, expected);
      });
    }
  },
};
