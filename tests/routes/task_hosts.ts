/**
 * Hosts for the tests of tasks, with a blob store. A task is a request by which an edge, the public server in front of hosts, makes a host
 * fetch a layer from a blob store, prune it and write the result back.
 */

import { formatDigest, sha256 } from "../../src/protocol/digest.ts";
import { signTicket } from "../../src/protocol/tickets.ts";
import { file, floats, packUpper } from "../layer/bodies.ts";
import { correlatedHessian } from "../reference/hessian.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { startBlobServer } from "../support/blob_server.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { startHost, type TestHost } from "./host.ts";

/** The secret that the hosts share with their edge, and the id of each host. */
export const SECRET = "a secret of thirty-two bytes: 123", HOST_ID = "host-under-test";

/** The shape of the weight of a task. */
export const ROWS = 24, COLS = 40;

const WEIGHT_TENSOR = floats("F32", [ROWS, COLS], normals(ROWS * COLS, 1));
const HESSIAN_TENSOR = statistics(3), VALIDATION_TENSOR = statistics(4);

/** The files of a task: the weight, its statistics, and both in one file. */
export const WEIGHT = file({ weight: WEIGHT_TENSOR }),
  HESSIAN = file({ hessian_upper: HESSIAN_TENSOR }),
  WHOLE_LAYER = file({ weight: WEIGHT_TENSOR, hessian_upper: HESSIAN_TENSOR });

/** The statistics with validation statistics, and all tensors in one file. */
export const VALIDATED_HESSIAN = file({
    hessian_upper: HESSIAN_TENSOR,
    validation_hessian_upper: VALIDATION_TENSOR,
  }),
  VALIDATED_LAYER = file({
    weight: WEIGHT_TENSOR,
    hessian_upper: HESSIAN_TENSOR,
    validation_hessian_upper: VALIDATION_TENSOR,
  });

function statistics(seed: number): HostTensor {
  return floats("F32", [COLS * (COLS + 1) / 2], packUpper(correlatedHessian(COLS, { seed }), COLS));
}

/** How a test sends a task. The defaults are those of an edge. */
export interface SendOptions {
  readonly to?: TestHost;
  readonly wait?: number;
  readonly ticket?: string;
  readonly audience?: string;
  /** The body that the ticket is signed for, if it is not the sent body. */
  readonly signed?: string;
  readonly path?: string;
  readonly now?: number;
}

/** Starts two hosts and a blob store. The store of statistics of the host `small` has room for nothing. */
export async function startTaskHosts() {
  const store = startBlobServer();
  const edge = { secret: SECRET, hostId: HOST_ID, blobOrigins: [store.origin] };
  const host = await startHost({ edge, keys: [{ digest: new Uint8Array(32), scopes: new Set() }] });
  const small = await startHost({ edge, device: { storeBytes: 16 } });
  let count = 0;

  async function putBlob(path: string, bytes: Uint8Array<ArrayBuffer>) {
    store.blobs.set(path, bytes);
    return { url: store.origin + path, sha256: formatDigest(await sha256(bytes)) };
  }

  return {
    host,
    small,
    store,
    /** Stores a file, and returns its URL and digest. */
    putBlob,
    /** Returns a new task with the members in `changes`. */
    async taskOf(changes: Record<string, unknown> = {}) {
      return {
        id: `task-${++count}`,
        weight: await putBlob("/weight", WEIGHT),
        hessian: await putBlob("/hessian", HESSIAN),
        result: { url: `${store.origin}/result` },
        parameters: { sparsity: 0.5 },
        ...changes,
      };
    },
    /** Sends a task as an edge does, with the deviations in `options`. */
    async send(task: unknown, options: SendOptions = {}): Promise<Response> {
      const { to = host, wait = 30, audience = HOST_ID, path = "/v1/tasks", now = Date.now() } = options;
      const body = new TextEncoder().encode(JSON.stringify(task));
      const signed = options.signed === undefined ? body : new TextEncoder().encode(options.signed);
      const ticket = options.ticket ??
        await signTicket(SECRET, { audience, method: "POST", path, body: signed }, now);
      return await to.request("/v1/tasks", {
        method: "POST",
        headers: {
          Authorization: ticket,
          "Content-Type": "application/json",
          "Content-Length": String(body.length),
          Prefer: `wait=${wait}`,
        },
        body,
      });
    },
    /** Forgets the requests that the blob store has received, and the faults that it has not caused yet. */
    resetStore() {
      store.requests.length = 0;
      store.faults.length = 0;
    },
    close: async () => {
      await Promise.all([host.close(), small.close(), store[Symbol.asyncDispose]()]);
    },
  };
}

/** Returns the status and the code of a problem. */
export async function codeOf(response: Response): Promise<[status: number, code: string]> {
  return [response.status, (await response.json()).code];
}
