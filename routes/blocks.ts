/** `/v1/states/NAME` stores the hidden states of a model, and `POST /v1/blocks/KIND` does a step on the block of which they are the inputs. */

import type { Context } from "hono";
import { createStates } from "../src/host/blocks/create_states.ts";
import { runBlock } from "../src/host/blocks/run_block.ts";
import { addSums } from "../src/host/blocks/sum_parts.ts";
import { describeStates, type States, type StatesName } from "../src/host/blocks/states.ts";
import { statesNotFound, type StatesStore } from "../src/host/blocks/states_store.ts";
import type { HostServices } from "../src/host/host_services.ts";
import { SAFETENSORS_TYPE } from "../src/protocol/headers.ts";
import {
  ADD_SUMS,
  BLOCK_STEPS,
  type BlockStep,
  CREATE_STATES,
  DELETE_STATES,
  FIND_STATES,
} from "../src/protocol/resources/blocks.ts";
import { answerStream } from "./answer_stream.ts";
import { requestBody } from "./body.ts";
import type { HostApp, HostEnv } from "./host_app.ts";
import { guardedRoute } from "./middleware.ts";

export function blockRoutes(app: HostApp, services: HostServices): void {
  const { device, keys, limits, clock, metrics } = services;

  app.openapi(guardedRoute(FIND_STATES, keys), async (c) => {
    const key = ownName(c, c.req.valid("param").name);
    const states = await device.session().states.describe(key);
    if (!states) throw statesNotFound(key.name);
    return c.json(states, 200);
  });

  app.openapi(guardedRoute(CREATE_STATES, keys), async (c) => {
    const key = ownName(c, c.req.valid("param").name), { target, block } = c.req.valid("query");
    const body = requestBody(c, services), session = device.session(), { backend, states: store } = session;
    const states = await device.withPlace(
      session,
      () => createStates(backend, body, { hasTargets: target === "dense", block, store, name: key }),
      c.req.raw.signal,
    );
    return c.json(describeStates(states), 201);
  });

  app.openapi(guardedRoute(DELETE_STATES, keys), async (c) => {
    const key = ownName(c, c.req.valid("param").name);
    if (!await device.session().states.delete(key)) throw statesNotFound(key.name);
    return c.body(null, 204);
  });

  for (const [kind, operation] of Object.entries(BLOCK_STEPS)) {
    app.openapi(guardedRoute(operation, keys), (c) => {
      const step = { kind, ...c.req.valid("query") } as BlockStep, name = ownName(c, step.states);
      const body = requestBody(c, services), { signal } = c.req.raw;
      return device.use(async (session) => {
        const { states: store, solveQueue } = session;
        const runSolve = <T>(work: () => Promise<T>) => solveQueue.run(work, signal);
        const request = { ...body, step, signal, store, name, runSolve };
        const run = (states: States) => device.withPlace(session, () => runBlock(states, request), signal);
        const { parts, solved } = await store.use(name, run, signal);
        for (const { report } of solved) metrics.countLayer(report, false);
        return c.body(...answerOf(parts, store));
      });
    });
  }

  app.openapi(guardedRoute(ADD_SUMS, keys), (c) => {
    const name = ownName(c, c.req.valid("param").name), { layer } = c.req.valid("query");
    const body = requestBody(c, services), { signal } = c.req.raw;
    return device.use(async (session) => {
      const { states: store, solveQueue } = session;
      const runSolve = <T>(work: () => Promise<T>) =>
        device.withPlace(session, () => solveQueue.run(work, signal), signal);
      const request = { ...body, layer, store, name, runSolve };
      const parts = await store.use(name, (states) => addSums(states, request), signal);
      return c.body(...answerOf(parts, store));
    });
  });

  /** Returns the answer with the parts of a file, which hold memory of the store until they are sent, but no place on the device. */
  function answerOf(parts: readonly Uint8Array<ArrayBuffer>[], store: StatesStore) {
    const byteLength = parts.reduce((sum, { byteLength }) => sum + byteLength, 0);
    const room = store.hold(byteLength);
    const source = {
      chunks: chunksOf(parts),
      isPlaceWanted: () => false,
      release: () => room[Symbol.dispose](),
      onError: () => {},
    };
    return [answerStream(source, limits, clock), 200, {
      "Content-Type": SAFETENSORS_TYPE,
      "Content-Length": String(byteLength),
    }] as const;
  }
}

/** Returns the name with its owner, which the request has by its API key. */
function ownName(c: Context<HostEnv>, name: string): StatesName {
  return { owner: c.get("owner"), name };
}

async function* chunksOf<Chunk>(parts: readonly Chunk[]): AsyncGenerator<Chunk, void, undefined> {
  yield* parts;
}
