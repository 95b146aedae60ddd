/** `/v1/states/NAME` stores the hidden states of a model, and `POST /v1/blocks/KIND` does a step on the block of which they are the inputs. */

import type { Context } from "hono";
import { createStates } from "../src/host/blocks/create_states.ts";
import { runBlock } from "../src/host/blocks/run_block.ts";
import { addSums } from "../src/host/blocks/sum_parts.ts";
import { describeStates, type StatesName } from "../src/host/blocks/states.ts";
import { StatesNotFoundError, type StatesStore } from "../src/host/blocks/states_store.ts";
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
    if (!states) throw new StatesNotFoundError(key.name);
    return c.json(states, 200);
  });

  app.openapi(guardedRoute(CREATE_STATES, keys), async (c) => {
    const key = ownName(c, c.req.valid("param").name), { target, block } = c.req.valid("query");
    const body = requestBody(c, services), session = device.session(), { signal } = c.req.raw;
    const { backend, states: store, residentQueue } = session;
    try {
      const states = await residentQueue.run(
        () => createStates(backend, body, { hasTargets: target === "dense", block, store, name: key }),
        signal,
      );
      return c.json(describeStates(states), 201);
    } catch (error) {
      throw device.handleFailure(error, session);
    }
  });

  app.openapi(guardedRoute(DELETE_STATES, keys), async (c) => {
    const key = ownName(c, c.req.valid("param").name);
    if (!await device.session().states.delete(key)) throw new StatesNotFoundError(key.name);
    return c.body(null, 204);
  });

  const { prune, collect, train, measure, run } = BLOCK_STEPS;
  app.openapi(guardedRoute(prune, keys), (c) => answerStep(c, { kind: "prune", ...c.req.valid("query") }));
  app.openapi(
    guardedRoute(collect, keys),
    (c) => answerStep(c, { kind: "collect", ...c.req.valid("query") }),
  );
  app.openapi(guardedRoute(train, keys), (c) => answerStep(c, { kind: "train", ...c.req.valid("query") }));
  app.openapi(
    guardedRoute(measure, keys),
    (c) => answerStep(c, { kind: "measure", ...c.req.valid("query") }),
  );
  app.openapi(guardedRoute(run, keys), (c) => answerStep(c, { kind: "run", ...c.req.valid("query") }));

  async function answerStep(c: Context<HostEnv>, step: BlockStep) {
    const key = ownName(c, step.states);
    const body = requestBody(c, services), session = device.session(), { signal } = c.req.raw;
    const { states: store, residentQueue, solveQueue } = session;
    try {
      const { parts, solved } = await store.use(key, (states) =>
        residentQueue.run(() =>
          runBlock(states, {
            ...body,
            step,
            signal,
            store,
            name: key,
            runSolve: (work) => solveQueue.run(work, signal),
          }), signal), signal);
      for (const { report } of solved) metrics.countLayer(report, false);
      return c.body(...answerOf(parts, store));
    } catch (error) {
      throw device.handleFailure(error, session);
    }
  }

  app.openapi(guardedRoute(ADD_SUMS, keys), async (c) => {
    const name = ownName(c, c.req.valid("param").name), { layer } = c.req.valid("query");
    const body = requestBody(c, services), session = device.session(), { signal } = c.req.raw;
    const { states: store, residentQueue, solveQueue } = session;
    const runSolve = <T>(work: () => Promise<T>) =>
      residentQueue.run(() => solveQueue.run(work, signal), signal);
    const request = { ...body, layer, store, name, runSolve };
    try {
      const parts = await store.use(name, (states) => addSums(states, request), signal);
      return c.body(...answerOf(parts, store));
    } catch (error) {
      throw device.handleFailure(error, session);
    }
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
