/**
 * The import arrows between rooms. A room is a folder of `src`, or one of `routes`, `scripts`, `tests` and
 * `shaders`. An arrow from one room to another says that the first may import the second, and everything that
 * the second may import.
 */

import { isWithin, type SourceFile } from "./imports.ts";

/** The arrows: for each room, the rooms that it may import directly. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  "shaders": [],
  "src/text": [],
  "src/async": [],
  "src/tensor": [],
  "src/safetensors": ["src/tensor"],
  "src/sparsity": ["src/tensor"],
  "src/quantization": ["src/tensor"],
  "src/kernels": ["src/tensor", "shaders"],
  "src/backend": ["src/kernels"],
  "src/cpu": ["src/backend"],
  "src/webgpu": ["src/backend"],
  "src/linalg": ["src/backend"],
  "src/solvers": ["src/linalg", "src/sparsity", "src/quantization"],
  "src/calibration": ["src/backend"],
  "src/protocol": ["src/sparsity", "src/quantization"],
  "src/layer": ["src/solvers", "src/calibration", "src/protocol", "src/safetensors"],
  "src/self_check": ["src/layer"],
  "src/host": ["src/self_check"],
  "src/files": [],
  "src/checkpoint": ["src/files", "src/safetensors", "src/sparsity", "src/quantization"],
  "src/hub": ["src/checkpoint"],
  "src/models": ["src/checkpoint", "src/backend"],
  "src/evaluation": ["src/models"],
  "src/client": ["src/protocol", "src/safetensors"],
  "src/prune": ["src/models", "src/client", "src/layer", "src/report"],
  "src/report": ["src/protocol"],
  "src/pages": ["src/client"],
  "src/edge": ["src/layer", "src/pages"],
  "routes": ["src/host", "src/pages"],
  "src/cli": ["routes", "src/prune", "src/evaluation", "src/hub", "src/report"],
  "scripts": ["src/cli", "src/edge"],
  "tests": ["scripts"],
};

/** Small rooms of general helpers. Every room may import them, and they import no room. */
const FOUNDATIONS = ["src/text", "src/async"];

/**
 * Files and folders that may import more than the arrows allow. Most of them choose a concrete backend or
 * load its WebAssembly module.
 */
const EXTRA_ARROWS: Readonly<Record<string, readonly string[]>> = {
  "src/host/backends.ts": ["src/cpu", "src/webgpu"],
  "src/edge/small_layers.ts": ["src/cpu"],
  // The colours of all pages.
  "src/report": ["src/pages/style/colours.css"],
  "src/edge/worker.ts": ["build/kernels_single.wasm", "build/pages/files.json"],
  "scripts": ["src/cpu", "src/webgpu", "deno.json", "build", "tests/support/random.ts", "tests/reference"],
  // The simulated faults of the tests, such as a file system that is full.
  "scripts/faults": ["tests/support", "tests/edge"],
  "tests": ["src/cpu", "src/webgpu", "deno.json", "build"],
};

/**
 * Returns one message for each import that no arrow allows, and one for each file whose folder has no arrows.
 */
export function arrowProblems(files: ReadonlyMap<string, SourceFile>): string[] {
  const problems = roomCycles();
  for (const { path, imports } of files.values()) {
    const room = roomOf(path);
    if (room === undefined) {
      problems.push(`${path}: its folder has no arrows in scripts/structure/arrows.ts`);
      continue;
    }
    const allowed = [...reachable(room), ...FOUNDATIONS, ...extraArrows(path)];
    for (const target of imports) {
      if (!allowed.some((folder) => isWithin(target, folder))) {
        problems.push(`${path}: no arrow leads from ${room} to ${target}`);
      }
    }
  }
  return problems;
}

function roomOf(path: string): string | undefined {
  return Object.keys(ARROWS).find((room) => isWithin(path, room));
}

function extraArrows(path: string): string[] {
  return Object.entries(EXTRA_ARROWS).flatMap(([from, to]) => isWithin(path, from) ? to : []);
}

/** The rooms that can be reached from `room`, itself included. */
function reachable(room: string, found = new Set<string>()): Set<string> {
  if (!found.has(room)) {
    found.add(room);
    for (const next of ARROWS[room]) reachable(next, found);
  }
  return found;
}

/** Returns one message for each arrow that is part of a cycle of arrows. */
function roomCycles(): string[] {
  return Object.entries(ARROWS).flatMap(([room, direct]) =>
    direct.filter((next) => reachable(next).has(room)).map((next) =>
      `scripts/structure/arrows.ts: ${room} and ${next} import each other`
    )
  );
}
