/**
 * The import arrows between rooms (the folders of `src`, and `routes`, `scripts`, `tests`, `shaders`). A room may import every room that
 * can be reached along the arrows.
 */

import { isWithin, type SourceFile } from "./imports.ts";

/** The rooms that each room imports directly. Rooms reached through those are allowed as well. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  "shaders": [],
  "src/text": [],
  "src/async": [],
  "src/tensor": [],
  "src/safetensors": ["src/tensor"],
  "src/sparsity": ["src/tensor"],
  "src/kernels": ["src/tensor", "shaders"],
  "src/backend": ["src/kernels"],
  "src/cpu": ["src/backend"],
  "src/webgpu": ["src/backend"],
  "src/linalg": ["src/backend"],
  "src/solvers": ["src/linalg", "src/sparsity"],
  "src/calibration": ["src/backend"],
  "src/protocol": ["src/sparsity"],
  "src/layer": ["src/solvers", "src/calibration", "src/protocol", "src/safetensors"],
  "src/host": ["src/layer"],
  "src/files": [],
  "src/checkpoint": ["src/files", "src/safetensors", "src/sparsity"],
  "src/hub": ["src/checkpoint"],
  "src/models": ["src/checkpoint", "src/backend"],
  "src/evaluation": ["src/models"],
  "src/client": ["src/protocol", "src/safetensors"],
  "src/prune": ["src/models", "src/client", "src/calibration"],
  "src/report": ["src/protocol"],
  "src/pages": ["src/client"],
  "src/edge": ["src/layer", "src/pages"],
  "routes": ["src/host", "src/pages"],
  "src/cli": ["routes", "src/prune", "src/evaluation", "src/hub", "src/report"],
  "scripts": ["src/cli", "src/edge"],
  "tests": ["scripts"],
};

/** Rooms without a subject of their own that every room may import. They import nothing. */
const FOUNDATIONS = ["src/text", "src/async"];

/** Files that may import more than their room. These entry points choose a concrete backend. */
const EXTRA_ARROWS: Readonly<Record<string, readonly string[]>> = {
  "src/host/backends.ts": ["src/cpu", "src/webgpu"],
  "src/edge/small_layers.ts": ["src/cpu"],
  "src/edge/worker.ts": ["build/kernels_single.wasm"],
  "scripts": ["src/cpu", "src/webgpu", "deno.json", "build", "tests/support/random.ts"],
  "tests": ["src/cpu", "src/webgpu", "deno.json", "build"],
};

/** One line per import that no arrow allows, and per room without a place among the arrows. */
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

/** The arrows themselves must have no cycle: no room may be reached from a room that it imports. */
function roomCycles(): string[] {
  return Object.entries(ARROWS).flatMap(([room, direct]) =>
    direct.filter((next) => reachable(next).has(room)).map((next) =>
      `scripts/structure/arrows.ts: ${room} and ${next} import each other`
    )
  );
}
