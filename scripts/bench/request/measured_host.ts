/**
 * Runs a host that records when its last request reached each stage, and answers `GET /stages` with these times. The host
 * runs the application and the listener of `pare serve`. Only the backend and the queues are wrapped, so the measured code has no
 * hooks of its own. The host prints a line of JSON with its URL and its device.
 *
 *     deno run -A scripts/bench/request/measured_host.ts cpu
 */

import type { Backend } from "../../../src/backend/backend.ts";
import { type BackendChoice, selectBackend } from "../../../src/host/backends.ts";
import { DEFAULT_CONNECTION_LIMITS } from "../../../src/host/listener.ts";
import { listen } from "../../../src/host/listen.ts";
import { startHostServices } from "../../../src/host/host_services.ts";
import { createApp } from "../../../routes/app.ts";
import { isPaced } from "../../../routes/serve.ts";
import { type Durations, type HostStages, now } from "./stages.ts";

/** The stages of the last request. The bench sends one request at a time. */
let current: PendingStages = emptyStages();

/** The stages that a request has reached so far. */
type PendingStages = { -readonly [stage in keyof HostStages]?: number } & Writable<Durations>;

type Writable<T> = { -readonly [key in keyof T]: T[key] };

function emptyStages(): Writable<Durations> {
  return { uploading: 0, checking: 0, reading: 0 };
}

/** Wraps `backend` so that it adds up the time of uploads and of reads. The reads before the solve wait for the checks of the values. */
function measured(backend: Backend): Backend {
  const write = backend.write.bind(backend), read = backend.read.bind(backend);
  backend.write = (...args) => {
    const start = now();
    write(...args);
    if (current.solveStart === undefined) current.uploading += now() - start;
  };
  backend.read = async (...args) => {
    const start = now();
    const bytes = await read(...args);
    if (current.solveStart === undefined) current.checking += now() - start;
    else if (current.solveEnd !== undefined) current.reading += now() - start;
    return bytes;
  };
  return backend;
}

const services = await startHostServices(
  async () => measured(await selectBackend(Deno.args[0] as BackendChoice)),
);
const { residentQueue, solveQueue, backend } = services.device.session();
const acquire = residentQueue.acquire.bind(residentQueue), run = solveQueue.run.bind(solveQueue);
residentQueue.acquire = async (signal) => {
  const release = await acquire(signal);
  current.place = now();
  return release;
};
solveQueue.run = (solve, signal) =>
  run(async () => {
    current.solveStart = now();
    const solved = await solve();
    current.solveEnd = now();
    return solved;
  }, signal);

const app = createApp(services);
const { port } = listen({
  hostname: "127.0.0.1",
  port: 0,
  limits: DEFAULT_CONNECTION_LIMITS,
  isPaced,
  log: () => {},
  clock: services.clock,
  handler: async (request, sent) => {
    if (request.url.endsWith("/stages")) return Response.json(current);
    current = { ...emptyStages(), request: now() };
    const response = await app.fetch(request, { sent });
    current.response = now();
    return response;
  },
});
console.log(
  JSON.stringify({ url: `http://127.0.0.1:${port}`, backend: backend.kind, adapter: backend.adapter.name }),
);
