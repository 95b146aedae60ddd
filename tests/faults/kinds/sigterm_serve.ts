/** SIGTERM of `pare serve` in every phase of a request. */

import { sleep } from "../../../src/base/waiting.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";
import { type ChildHost, startHost } from "../../../scripts/processes/child_host.ts";
import { type Answer, type Behaviour, exchange } from "../../../scripts/soak/exchange.ts";
import { type FaultKind, require } from "../fault_kind.ts";
import { layerBody, requireSameAnswer } from "../fault_layer.ts";

/** A phase, and how a client behaves so that the signal comes in it. */
interface Phase {
  readonly name: string;
  readonly behaviour: Behaviour;
  /** Milliseconds from the connection to the signal. */
  readonly delay: (random: () => number) => number;
  /** The number of clients. Only three layers have a place on the device, and the others wait. */
  readonly clients: number;
}

const SLOW: Behaviour = { pieceBytes: 60_000, pauseMilliseconds: 20 };

const PHASES: readonly Phase[] = [
  { name: "idle", behaviour: {}, delay: () => 0, clients: 0 },
  { name: "receiving a body", behaviour: SLOW, delay: (random) => 50 + 200 * random(), clients: 1 },
  { name: "solving", behaviour: {}, delay: (random) => 30 + 60 * random(), clients: 1 },
  { name: "waiting in the queue", behaviour: {}, delay: (random) => 30 + 60 * random(), clients: 8 },
  { name: "answering", behaviour: SLOW, delay: (random) => 500 + 500 * random(), clients: 1 },
];

const END_MILLISECONDS = 60_000;

/** SIGTERM of a host. It must answer what it has received, refuse the rest with 503, and end with code 0. */
export const sigtermServe: FaultKind = {
  name: "sigterm_serve",
  fault: "SIGTERM of `pare serve` in every phase of a request",
  survival: "Layers in progress are answered, others are refused, and a new host gives the same bytes.",
  processes: true,
  tries: { full: 25, test: 2 },
  async run(tries, tally, seed) {
    const random = uniform(seed), body = layerBody(384, 384);
    let host = await startHost(["--backend", "cpu"]);
    try {
      const expected = (await post(host)).body;
      for (let i = 0; i < tries; i++) {
        const phase = PHASES[tries < PHASES.length ? 1 + (i % 4) : i % PHASES.length];
        await tally.attempt(phase.name, async () => {
          tally.hit(phase.name);
          const answers = Array.from({ length: phase.clients }, () => postOrRefusal(host, phase.behaviour));
          await sleep(phase.delay(random));
          Deno.kill(host.pid, "SIGTERM");
          const results = await Promise.all(answers);
          const ended = await Promise.race([host.ended, sleep(END_MILLISECONDS)]);
          require(ended !== undefined, `the host did not end within ${END_MILLISECONDS / 1000} s`);
          const { code } = ended as Deno.CommandStatus;
          require(code === 0, `the host ended with code ${code}`);
          host = await startHost(["--backend", "cpu"]);
          for (const answer of results) {
            // A client repeats a request that was refused, at the host that took its place.
            requireSameAnswer((answer ?? await post(host)).body, expected);
          }
        });
      }
    } finally {
      await host[Symbol.asyncDispose]();
    }

    function post(to: ChildHost, behaviour?: Behaviour): Promise<Answer> {
      return exchange(to.url, { path: "/v1/layers", body }, behaviour);
    }

    /** Returns the answer, or undefined if the host refused the request because it shuts down, or before it accepted the connection. */
    async function postOrRefusal(to: ChildHost, behaviour: Behaviour): Promise<Answer | undefined> {
      let answer: Answer;
      try {
        answer = await post(to, behaviour);
      } catch (error) {
        // A connection that the host had not accepted yet is closed without an answer. A client repeats its request.
        require(/connection broke|refused/i.test(String(error)), String(error));
        return undefined;
      }
      if (answer.status === 200) return answer;
      require(answer.status === 503, `${answer.status} ${new TextDecoder().decode(answer.body)}`);
      return undefined;
    }
  },
};
