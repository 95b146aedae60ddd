/** Hosts with a folder for hidden states, and requests that create states and prune blocks. */

import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import type { WorkFileSystem } from "../../src/base/files/file_system.ts";
import type { Backend } from "../../src/device/backend.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { decodeBlock } from "../../src/protocol/blocks/block_answer.ts";
import { StatesFolder } from "../../src/host/blocks/states_folder.ts";
import type { LogEntry } from "../../src/host/metrics.ts";
import { withTemporaryFolder } from "../support/temporary_folder.ts";
import { assertProblem } from "./assert_problem.ts";
import { creation, pruning, secondPruning } from "./block_bodies.ts";
import { startHost, type TestHost } from "./host.ts";

/** The memory of a host for hidden states, and the default budget of its folder, in bytes. */
export const BUDGET = 2 ** 30;

/** The owner of the states of requests without an API key. */
export const OWNER = "";

/** Runs `body` with a folder and a function that starts a host which uses it. The host is closed before the next one starts. */
export async function withHosts(
  body: (
    folder: string,
    start: (
      fs?: WorkFileSystem,
      budgetBytes?: number,
      open?: () => Promise<Backend>,
    ) => Promise<TestHost & { readonly log: LogEntry[] }>,
  ) => Promise<void>,
): Promise<void> {
  await withTemporaryFolder(async (parent) => {
    const folder = `${parent}/states`;
    let close = async () => {};
    await body(folder, async (fs = denoFileSystem, budgetBytes = BUDGET, open = () => createCpuBackend()) => {
      await close();
      const log: LogEntry[] = [];
      const statesFolder = await StatesFolder.open({
        fs,
        folder,
        budgetBytes,
        log: (entry) => void log.push(entry),
      });
      const host = await startHost({ open, device: { statesBytes: BUDGET, statesFolder } });
      close = async () => {
        close = async () => {};
        await host.close();
        await statesFolder[Symbol.asyncDispose]();
      };
      return { ...host, log };
    });
    await close();
  });
}

/** Makes the host move all states that no request uses to its folder. */
export async function evictAll({ device }: TestHost): Promise<void> {
  const own = { replaced: { owner: OWNER, name: "other" } };
  using _room = await device.session().states.reserve("other work", BUDGET, own);
}

export async function create(host: TestHost, name = "run", body = creation, query = ""): Promise<void> {
  assert.equal((await host.send("PUT", `/v1/states/${name}${query}`, body)).status, 201);
}

/** Creates states, which the host then moves to its folder. */
export async function createEvicted(
  host: TestHost,
  name?: string,
  body?: typeof creation,
  query?: string,
): Promise<void> {
  await create(host, name, body, query);
  await evictAll(host);
}

/** Prunes a block, and returns the answer without times. */
export async function prune(host: TestHost, block: number): Promise<unknown> {
  const answer = await host.send(
    "POST",
    `/v1/blocks/prune?states=run&block=${block}`,
    block === 0 ? pruning : secondPruning,
  );
  assert.equal(answer.status, 200);
  const { layers, ...others } = decodeBlock(await answer.bytes());
  return { ...others, layers: layers.map(({ weight, report: { loss } }) => ({ weight, loss })) };
}

export async function nextBlock(host: TestHost, name = "run"): Promise<number | undefined> {
  const answer = await host.request(`/v1/states/${name}`);
  if (answer.status === 404) return void await assertProblem(answer, "states_not_found");
  return (await answer.json()).next_block;
}

export async function filesIn(folder: string): Promise<string[]> {
  return (await denoFileSystem.list(folder) ?? []).filter((name) => name !== "lock");
}
