/** A host for tests: the HTTP application with its own backend, called without a socket. It records its log entries. */

import type { Backend } from "../../src/device/backend.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { type HostSettings, startHostServices } from "../../src/host/host_services.ts";
import type { LogEntry } from "../../src/host/metrics.ts";
import type { PageFiles } from "../../src/pages/page_files.ts";
import { sha256 } from "../../src/protocol/digest.ts";
import { SAFETENSORS_TYPE } from "../../src/protocol/headers.ts";
import type { Problem } from "../../src/protocol/refusal.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { assertDocumented, type ContractDocument } from "../support/documented_answers.ts";
import { createApp } from "../../routes/app.ts";

export interface TestHostOptions extends Omit<HostSettings, "log"> {
  readonly open?: () => Promise<Backend>;
  /** The built files of the pages. */
  readonly pageFiles?: PageFiles;
}

/** A host under test. */
export type TestHost = Awaited<ReturnType<typeof startHost>>;

/** Starts a host. The caller must call `close`, because the backend has threads. */
export async function startHost(
  { open = () => createCpuBackend(), pageFiles, ...settings }: TestHostOptions = {},
) {
  const records: LogEntry[] = [];
  const services = await startHostServices(open, {
    ...settings,
    log: (record) => void records.push(record),
    limits: { maxBodyBytes: 2 ** 30, ...settings.limits },
    device: { maxResidentLayers: 2, queueDepth: 2, ...settings.device },
  });
  const { device } = services;
  const app = createApp({ ...services, version: "0.0.0-test" }, pageFiles);
  const document: ContractDocument = await (await app.request("/openapi.json")).json();
  records.length = 0;
  /** Sends a request. Every answer must be one that the OpenAPI document describes. */
  const request = async (path: string, init?: RequestInit) => {
    const response = await app.request(path, init);
    await assertDocumented(document, { method: init?.method ?? "GET", path }, response);
    return response;
  };

  return {
    device,
    records,
    request,
    liveBytes: () => device.current()?.backend.counters.bytesLive ?? 0,
    /** Sends a safetensors body with the headers that a client sets. */
    send: async (method: string, path: string, body: Uint8Array<ArrayBuffer>, headers: HeadersInit = {}) =>
      await request(path, { method, body, headers: safetensorsHeaders(body.length, headers) }),
    close: () => device.close(),
  };
}

/** Returns the digest of a key in hexadecimal, as a host is given it. */
export async function digestOf(key: string): Promise<string> {
  return (await sha256(new TextEncoder().encode(key))).toHex();
}

/** Returns the headers of a safetensors body of `length` bytes. Headers in `extra` replace them. */
export function safetensorsHeaders(length: number, extra: HeadersInit = {}): Headers {
  const headers = new Headers({ "Content-Type": SAFETENSORS_TYPE, "Content-Length": String(length) });
  new Headers(extra).forEach((value, name) => headers.set(name, value));
  return headers;
}

/** Decodes a successful answer into its tensors and its report. @throws {Error} if the status is not 200 */
export async function answerOf(response: Response) {
  const body = new Uint8Array(await response.arrayBuffer());
  if (response.status !== 200) throw new Error(`${response.status}: ${new TextDecoder().decode(body)}`);
  const { header, tensors } = decode(body);
  const named = Object.fromEntries(tensors) as { weight: HostTensor; mask: HostTensor };
  return { ...named, report: JSON.parse(header.metadata.report), body };
}

/** Reads the problem document of an error response. */
export async function problemOf(response: Response): Promise<Problem> {
  return await response.json();
}
