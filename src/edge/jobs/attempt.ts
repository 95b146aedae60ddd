/**
 * One attempt at one layer of a job: finds a host, gives it the layer as a task with signed URLs, waits for the outcome and records it.
 * Transient failures are thrown, so the Workflow retries them. Permanent ones are recorded as the layer's error.
 */

import type { ObservedJob } from "./observed_job.ts";
import type { JobLayer, TaskAnswer, TaskRequest } from "../../protocol/jobs.ts";
import type { Digest } from "../../protocol/digest.ts";
import type { Remote } from "../durable_objects/durable_object.ts";
import type { ChosenHost, HostRegistry } from "../hosts/registry.ts";
import {
  askHost,
  endTask,
  HostBusyError,
  type HostCalls,
  HostFailedError,
  TaskRefusedError,
} from "./host_client.ts";

/** Access to blobs. No tensor passes through it. */
export interface JobBlobs {
  /** Returns a signed URL to read a blob, or undefined if there is no such blob. */
  readUrl(digest: Digest): Promise<string | undefined>;
  /** Returns a new object and a signed URL to write an answer to it. */
  writeUrl(): Promise<{ key: string; url: string }>;
  /** Makes the object that a host wrote and hashed the blob of `digest`. Returns false if the object is missing or incomplete. */
  keep(key: string, digest: Digest, bytes: number): Promise<boolean>;
}

/** The services of an attempt. */
export interface AttemptTools {
  readonly job: string;
  readonly record: Remote<ObservedJob>;
  readonly hosts: Remote<HostRegistry>;
  readonly blobs: JobBlobs;
  readonly calls: HostCalls;
  readonly sleep: (milliseconds: number) => Promise<void>;
  readonly now: () => number;
  /** The longest time that a layer waits for a host with a free place. */
  readonly hostWaitMilliseconds: number;
}

/** The longest time of one task, including the transfer of its operands. After that, the layer is tried at another host. */
const ATTEMPT_MILLISECONDS = 30 * 60_000;

/** The pauses between two questions grow from the first to the longest, in milliseconds. */
const FIRST_PAUSE = 500, LONGEST_PAUSE = 10_000;

/** Attempts the layer at `position`. @throws {HostFailedError} if another attempt may succeed */
export async function attemptLayer(position: number, tools: AttemptTools): Promise<void> {
  const { record, hosts } = tools;
  const attempt = await record.begin(position);
  if (!attempt) return;
  const id = `${tools.job}.${position}.${attempt.number}`;
  const deadline = tools.now() + tools.hostWaitMilliseconds;
  try {
    for (let pause = FIRST_PAUSE;; pause = longer(pause)) {
      const host = await hosts.choose(id, attempt.layer.hessian);
      if (host) {
        try {
          return await solveAt(host, id, position, attempt.layer, tools);
        } catch (error) {
          if (!(error instanceof HostBusyError) || tools.now() > deadline) throw error;
        }
      } else if (tools.now() > deadline) {
        const detail = `no GPU host was alive for ${tools.hostWaitMilliseconds / 1000} s`;
        return await record.settle(position, { error: { code: "no_device", detail } });
      }
      if (!await record.isWanted(position)) return;
      await tools.sleep(pause);
    }
  } catch (error) {
    if (error instanceof TaskRefusedError) {
      return await record.settle(position, { error: { code: error.code, detail: error.message } });
    }
    throw error;
  } finally {
    await hosts.release(id);
  }
}

async function solveAt(
  host: ChosenHost,
  id: string,
  position: number,
  layer: JobLayer,
  tools: AttemptTools,
): Promise<void> {
  const { blobs, record, calls } = tools;
  const target = await blobs.writeUrl();
  const task: TaskRequest = {
    id,
    weight: await source(blobs, layer.weight),
    hessian: layer.hessian === undefined ? undefined : await source(blobs, layer.hessian),
    result: { url: target.url },
    parameters: layer.parameters,
  };
  const answer = await follow(host, task, position, tools);
  if (!answer) return await endTask(calls, host, id);
  const { report, result } = answer;
  if (!await blobs.keep(target.key, result.sha256, result.bytes)) {
    throw new HostFailedError(`host ${host.url}: did not write the ${result.bytes} bytes of its answer`);
  }
  await record.settle(position, { report, result: result.sha256 });
}

/** Follows a task to its end. Returns undefined if the layer is not wanted any more, because its job was cancelled. */
async function follow(
  host: ChosenHost,
  task: TaskRequest,
  position: number,
  { calls, record, hosts, sleep, now }: AttemptTools,
): Promise<Extract<TaskAnswer, { state: "done" }> | undefined> {
  const deadline = now() + ATTEMPT_MILLISECONDS;
  for (let pause = FIRST_PAUSE;; pause = longer(pause)) {
    let answer: TaskAnswer;
    try {
      answer = await askHost(calls, host, task);
    } catch (error) {
      // The host gets layers again after its next heartbeat.
      if (error instanceof HostFailedError) await hosts.deregister(host.id);
      throw error;
    }
    if (answer.state === "done") return answer;
    if (!await record.isWanted(position)) return undefined;
    if (now() > deadline) {
      await endTask(calls, host, task.id);
      throw new HostFailedError(`host ${host.url}: took more than ${ATTEMPT_MILLISECONDS / 60_000} minutes`);
    }
    await sleep(pause);
  }
}

async function source(blobs: JobBlobs, digest: Digest): Promise<TaskRequest["weight"]> {
  const url = await blobs.readUrl(digest);
  if (url === undefined) throw new TaskRefusedError("not_found", `blob ${digest} is not stored`);
  return { url, sha256: digest };
}

function longer(pause: number): number {
  return Math.min(1.5 * pause, LONGEST_PAUSE);
}
