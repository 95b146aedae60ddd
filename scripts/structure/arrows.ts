/**
 * The import arrows between rooms. A room is a folder of `src`, or one of `routes`, `scripts`, `tests` and `shaders`. An arrow
 * from one room to another says that the first may import the second, and everything that the second may import.
 */

import { isWithin, type SourceFile } from "./imports.ts";

/**
 * The arrows: for each room, the rooms that it may import directly. A folder of a room has arrows of its own if
 * it may import less than the room, or if only some rooms may import it.
 */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  "shaders": [],
  "src/base": [],
  "src/tensor": ["src/base"],
  "src/protocol": ["src/tensor"],
  "src/device/kernels": ["src/tensor", "shaders"],
  "src/device": ["src/device/kernels"],
  "src/device/cpu": ["src/device"],
  "src/device/webgpu": ["src/device"],
  "src/layer/linalg": ["src/device"],
  "src/layer/calibration": ["src/layer/linalg"],
  "src/layer/solvers": ["src/layer/linalg"],
  "src/layer": ["src/layer/solvers", "src/layer/calibration", "src/protocol"],
  "src/model/checkpoint": ["src/tensor"],
  "src/model/hub": ["src/model/checkpoint"],
  "src/model": ["src/model/checkpoint", "src/device"],
  "src/model/evaluation": ["src/model"],
  "src/client": ["src/protocol"],
  "src/prune": ["src/model", "src/client", "src/layer", "src/prune/report"],
  "src/prune/report": ["src/protocol"],
  "src/pages": ["src/client"],
  "src/host/self_check": ["src/layer"],
  "src/host": ["src/host/self_check", "src/prune"],
  "src/edge": ["src/layer", "src/pages"],
  "routes": ["src/host", "src/pages"],
  "src/cli": ["routes", "src/prune", "src/model/evaluation", "src/model/hub"],
  "scripts": ["src/cli", "src/edge"],
  "tests": ["scripts"],
};

/** Files and folders that may import more than the arrows allow. Most of them choose a concrete backend or load its WebAssembly module. */
const EXTRA_ARROWS: Readonly<Record<string, readonly string[]>> = {
  "src/host/backends.ts": ["src/device/cpu", "src/device/webgpu"],
  "src/edge/small_layers.ts": ["src/device/cpu"],
  // The style of all pages.
  "src/prune/report": ["src/pages/style"],
  "src/edge/worker.ts": ["build/kernels_single.wasm", "build/pages/files.json"],
  "scripts": ["src/device/cpu", "src/device/webgpu", "deno.json", "build"],
  "tests": ["src/device/cpu", "src/device/webgpu", "deno.json", "build"],
};

/** Returns one message for each import that no arrow allows, and one for each file whose folder has no arrows. */
export function arrowProblems(files: ReadonlyMap<string, SourceFile>): string[] {
  const problems = roomCycles();
  for (const { path, imports } of files.values()) {
    const room = roomOf(path);
    if (room === undefined) {
      problems.push(`${path}: its folder has no arrows in scripts/structure/arrows.ts`);
      continue;
    }
    const rooms = reachable(room), extra = extraArrows(path);
    if (room === "src/host") rooms.delete("src/client"); // A host does not make a client of itself.
    for (const target of imports) {
      if (!rooms.has(roomOf(target) ?? "") && !extra.some((folder) => isWithin(target, folder))) {
        problems.push(`${path}: no arrow leads from ${room} to ${target}`);
      }
    }
  }
  return problems;
}

/** The room of a file, or the innermost folder of the room that has arrows. */
function roomOf(path: string): string | undefined {
  return Object.keys(ARROWS).filter((room) => isWithin(path, room)).sort((a, b) => b.length - a.length)[0];
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
