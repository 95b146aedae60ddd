/**
 * Runs the same test body on every backend. `eachBackend` declares one suite per backend. Without a WebGPU adapter the webgpu suite is
 * skipped with the reason, or fails if PARE_REQUIRE_WEBGPU=1.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import type { Backend } from "../../src/backend/backend.ts";
import { createCpuBackend } from "../../src/cpu/backend.ts";
import { createWebGpuBackend, NoAdapterError } from "../../src/webgpu/backend.ts";

const CREATE: Record<Backend["kind"], () => Promise<Backend>> = {
  cpu: () => createCpuBackend(),
  webgpu: () => createWebGpuBackend(),
};

/** Whether a missing WebGPU adapter fails the tests instead of skipping them. */
export const WEBGPU_REQUIRED = Deno.env.get("PARE_REQUIRE_WEBGPU") === "1";

async function findSkipReason(): Promise<string | undefined> {
  try {
    await (await CREATE.webgpu()).dispose();
  } catch (error) {
    if (error instanceof NoAdapterError && !WEBGPU_REQUIRED) return error.message;
    throw error;
  }
}

/** The reason why webgpu suites are skipped. Undefined if there is an adapter. */
export const webgpuSkipReason = await findSkipReason();

type Body = (backend: () => Backend) => void;

function declareSuite(
  name: string,
  create: () => Promise<Backend>,
  skipReason: string | undefined,
  body: Body,
): void {
  describe(name, () => {
    if (skipReason) {
      it(`is skipped: ${skipReason}`, { skip: skipReason }, () => {});
      return;
    }
    let backend: Backend;
    before(async () => {
      backend = await create();
    });
    after(() => backend.dispose());
    body(() => backend);
  });
}

/**
 * Declares a suite with the tests of `body` for each backend. Inside a test, `backend()` returns the backend, which is disposed of after
 * the suite.
 */
export function eachBackend(name: string, body: Body): void {
  declareSuite(`${name} on cpu`, CREATE.cpu, undefined, body);
  declareSuite(`${name} on webgpu`, CREATE.webgpu, webgpuSkipReason, body);
}

/**
 * Like {@link eachBackend}, for kernels that have one shader per kind of adapter: on webgpu it declares one suite per shader, whatever the
 * adapter of this machine is.
 */
export function eachTiling(name: string, body: Body): void {
  declareSuite(`${name} on cpu`, CREATE.cpu, undefined, body);
  for (const tiling of ["software", "discrete"] as const) {
    declareSuite(
      `${name} on webgpu, ${tiling}`,
      () => createWebGpuBackend({ tiling }),
      webgpuSkipReason,
      body,
    );
  }
}
